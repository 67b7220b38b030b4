"""The program of a child of `fda doctor`: run some probes, and send each row as soon as it is there.

python -m pipeline.doctor.child SOCKET LIFELINE
"""

from __future__ import annotations

import socket
import sys
import warnings

from pipeline.doctor.probes import Request
from pipeline.isolation.children import die_with_parent
from pipeline.isolation.messages import receive, send


def main() -> None:
    """Take one request, and send the rows of its probes; None is the end of a probe."""
    die_with_parent(int(sys.argv[2]))
    warnings.simplefilter("ignore")  # of packages, about each other: not what is asked
    connection = socket.socket(fileno=int(sys.argv[1]))
    request = receive(connection)
    assert isinstance(request, Request)
    for probe in request.probes:
        for row in probe.checks(request.place):
            send(connection, row)
        send(connection, None)


if __name__ == "__main__":
    main()
