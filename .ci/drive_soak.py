"""Drives the soak: a short one ends in time, with a verdict and its figures, and one that can't compare anything fails."""

import re
import time
import unittest

from driving import PATIENCE, Example

SECONDS = 10


def figures(output):
    """The counts of the table at the end, by their names."""
    rows = re.findall(r"^ *([a-z ]+?) +([\d,]+) +[\d,]+/s$", output, re.MULTILINE)
    return {name: int(count.replace(",", "")) for name, count in rows}


class Soak(unittest.TestCase):
    def test_a_mixed_load_stays_whole_and_flat(self):
        begin = time.monotonic()
        with Example("soak", "--seconds", str(SECONDS)) as soak:
            output, errors = soak.process.communicate(timeout=SECONDS + 3 * PATIENCE)
            self.assertEqual(soak.process.returncode, 0, (output, errors))
        self.assertGreaterEqual(time.monotonic() - begin, SECONDS)
        self.assertEqual(output.splitlines()[-1], "PASS")
        self.assertRegex(output, r"(?m)^\d+ s, per second: connections \d")
        counted = figures(output)
        self.assertEqual(len(counted), 11, output)
        for name, count in counted.items():
            # A client may be lucky each time.
            if name != "cut off":
                self.assertGreater(count, 0, name)
        for level in ["descriptors", "threads", "resident, KiB", "allocated, KiB"]:
            self.assertRegex(output, rf"(?m)^ *{level}( +\d+){{6}}$")

    def test_nothing_follows_from_too_little(self):
        with Example("soak", "--seconds", "0", "--threads", "1") as soak:
            output, errors, _ = soak.ended_with(1, time.monotonic())
            self.assertIn("  too short to compare its beginning and its end\nFAIL\n", output)
            self.assertNotEqual(errors, "")


if __name__ == "__main__":
    unittest.main(verbosity=2)
