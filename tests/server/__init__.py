"""Tests of the server: sans-IO machines in virtual time, the store, and a few real sockets."""
