"""From a bare board on a USB cable to a member of the fleet, many at once."""
