"""Firmware images: ESP32 applications, containers (`N.gap`), and the samples that simulated boards run."""
