"""Host-side tools of Gapcast: MicroPython on this machine, provisioning, and the TFTP client for people."""
