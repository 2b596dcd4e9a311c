# SPDX-License-Identifier: Apache-2.0
"""A tallyd of a program of ours: started, waited for, ended."""
import collections
import os
import re
import subprocess
import threading

START_S = 60
LINES = 20  # of its log, for who asks why it does not start


class NotServing(Exception):
    """It ended, or took too long; what its log says."""


class Server:
    """Serves when it is made. `address` is where, of gRPC."""

    def __init__(self, command, environment):
        self.address = None
        self.log = collections.deque(maxlen=LINES)
        self.told = threading.Event()
        self.process = subprocess.Popen(
            command, env={'PATH': os.environ['PATH'], **environment},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, errors='replace')
        self.reader = threading.Thread(target=self.read_log, daemon=True)
        self.reader.start()
        self.told.wait(START_S)
        if not self.address or self.process.poll() is not None:
            self.stop()
            raise NotServing('the server does not start: ' + ''.join(self.log))

    def read_log(self):
        for line in self.process.stderr:
            self.log.append(line)
            if self.address:
                continue
            found = re.search(r'Server listening at ([\d.:]+)', line)
            if found:
                self.address = found[1]
                self.told.set()
        self.told.set()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(START_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()
