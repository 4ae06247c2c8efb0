"""Run the tests of the shared core under MicroPython: the same files that pytest runs under CPython.

    micropython tests/upy/run.py [--lib DIR] [WORD ...]

`--lib` is where gapcast_core is (firmware/lib, or a compiled tree). With words, only tests with one of
them in "module.function" run. Exit code 1 if a test failed, or if none ran.
"""

import gc
import os
import sys


def main(arguments):
    here = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
    core, lib, words = here + "/../core", here + "/../../firmware/lib", []
    while arguments:
        word = arguments.pop(0)
        if word == "--lib":
            lib = arguments.pop(0)
        else:
            words.append(word)
    sys.path[:0] = [core, lib]
    passed = failed = 0
    for name in sorted(os.listdir(core)):
        if name.startswith("test_") and name.endswith(".py"):
            good, bad = run_module(name[:-3], words)
            passed += good
            failed += bad
            gc.collect()
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed or not passed else 0


def run_module(name, words):
    """Run the test functions of one file; how many passed, and how many failed."""
    try:
        module = __import__(name)
    except Exception as error:
        report(name, error)
        return 0, 1
    passed = failed = 0
    for attribute in sorted(dir(module)):
        title = name + "." + attribute
        test = getattr(module, attribute)
        if not attribute.startswith("test_") or not callable(test):
            continue
        if words and not any(word in title for word in words):
            continue
        try:
            test()
            passed += 1
        except Exception as error:
            report(title, error)
            failed += 1
    return passed, failed


def report(title, error):
    print("FAILED " + title)
    sys.print_exception(error, sys.stdout)


sys.exit(main(sys.argv[1:]))
