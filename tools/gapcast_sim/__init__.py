"""Test doubles that ship: simulated boards running the real boot client, lossy links, and faulty flash."""
