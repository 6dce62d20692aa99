"""A program for the tests of forked programs: says how it finds itself, then does as it is told."""

import json
import os
import sys
import time


def main(what: str, *arguments: str) -> None:
    found = {
        "arguments": arguments,
        "greeting": os.environ.get("GREETING"),
        "zone": time.tzname[0],
        "leads_its_session": os.getsid(0) == os.getpid(),
        "has_prefect": "prefect" in sys.modules,
        "is_main": __name__ == "__main__",
    }
    sys.stdout.write(f"{json.dumps(found)}\n")
    if what == "fail":
        raise SystemExit(7)
    if what == "raise":
        raise LookupError("as it was told")
    if what == "stay":
        time.sleep(1000)


if __name__ == "__main__":
    main(*sys.argv[1:])
