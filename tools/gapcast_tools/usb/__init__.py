"""Boards on a USB cable: esptool and mpremote do the work, each as a process of its own."""
