"""Runs a driver's own tests, those in ./tests, and writes what became of each to a file: suite.py FILE [TEST]…"""

import json
import os
import sys
import time
import unittest


class Outcomes(unittest.TestResult):
    """What became of each test, by its id. A failure is said with its kind of error, and shown."""

    def __init__(self):
        super().__init__()
        self.outcomes = {}
        self.began = 0.0

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def note(self, test, outcome):
        # What befalls a part of a test befell the test; a failure is not taken back.
        if not self.outcomes.get(test.id(), "").startswith("failed"):
            self.outcomes[test.id()] = outcome
        print(f"{time.monotonic() - self.began:8.2f} {test.id()}: {outcome}", flush=True)

    def fail(self, test, error):
        self.note(test, f"failed: {error[0].__name__}")
        print(self._exc_info_to_string(error, test), flush=True)

    def addSuccess(self, test):
        self.note(test, "passed")

    def addSkip(self, test, reason):
        self.note(test, "skipped")

    def addExpectedFailure(self, test, error):
        self.note(test, "failed as expected")

    def addUnexpectedSuccess(self, test):
        self.note(test, "passed unexpectedly")

    def addSubTest(self, test, part, error):
        if error is not None:
            self.fail(test, error)

    addError = addFailure = fail


def main(file, *names):
    here = os.getcwd()
    sys.path.insert(0, here)
    loader = unittest.TestLoader()
    if names:
        tests = loader.loadTestsFromNames(names)
    else:
        tests = loader.discover("tests", top_level_dir=here)
    result = Outcomes()
    tests.run(result)
    with open(file, "w") as out:
        json.dump(result.outcomes, out)


main(*sys.argv[1:])
