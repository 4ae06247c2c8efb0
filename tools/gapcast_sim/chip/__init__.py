"""A simulated bare ESP32 on a serial port."""
