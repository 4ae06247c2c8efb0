"""Fuzzers: modules with `cases(seed)` and `judge(case)`, run by run.py, and briefly by the tests here."""
