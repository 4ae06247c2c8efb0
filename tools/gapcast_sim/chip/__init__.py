"""A simulated chip on a serial port: what esptool and mpremote find at the other end of a USB cable."""
