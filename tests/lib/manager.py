#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A service manager as small as can be: holds two listening sockets, starts a
program on them as systemd does (sd_listen_fds(3)), and hears what the program
tells it (sd_notify(3)).

Usage: manager.py NAMES PROGRAM [ARGUMENT...]

NAMES are those of the sockets, between colons; "" for none. A line on standard
input is a command: `start`, the name of a signal for the program, `stick NAME`
(stops the program's thread of that name, and no other), `unstick`. A line on
standard output is an event in JSON:

    {"ports": [...]}                  first of all, in the names' order
    {"started": pid}
    {"told": "READY=1\\n..."}
    {"ended": {"code": 0}}, {"ended": {"signal": "SIGKILL"}}
    {"stuck": true}, {"stuck": false} also when that is not allowed here

It ends, and the program with it, when standard input does.
"""
import ctypes
import fcntl
import json
import os
import selectors
import signal
import socket
import sys
import tempfile

FIRST_FD = 3
# Of sys/ptrace.h and sys/wait.h.
PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000
BACKLOG = 4096


class Manager:
    def __init__(self, names, command):
        self.names = names
        self.command = command
        self.sockets = [
            socket.create_server(('127.0.0.1', 0), backlog=BACKLOG)
            for _ in names]
        self.selector = selectors.DefaultSelector()
        self.directory = tempfile.TemporaryDirectory(prefix='tallyd-manager-')
        self.notify_path = os.path.join(self.directory.name, 'notify')
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.notify_path)
        self.pid = self.stuck = None
        self.going = True

    def say(self, **event):
        sys.stdout.write(json.dumps(event) + '\n')
        sys.stdout.flush()

    def become(self):
        """In the child: the sockets at 3 and 4, and what tells so."""
        # Out of each other's way first.
        high = [fcntl.fcntl(s, fcntl.F_DUPFD_CLOEXEC, 10)
                for s in self.sockets]
        for at, fd in enumerate(high):
            os.dup2(fd, FIRST_FD + at)  # inheritable
        env = {**os.environ, 'NOTIFY_SOCKET': os.environ.get(
            'TEST_NOTIFY_SOCKET', self.notify_path)}
        if self.sockets:
            env |= {'LISTEN_PID': str(os.getpid()),
                    'LISTEN_FDS': str(len(self.sockets)),
                    'LISTEN_FDNAMES': ':'.join(self.names)}
        os.execve(self.command[0], self.command, env)

    def start(self):
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.become()
            finally:
                os._exit(127)
        self.say(started=self.pid)
        self.selector.register(os.pidfd_open(self.pid), selectors.EVENT_READ,
                               self.on_end)

    def on_end(self, fd):
        self.selector.unregister(fd)
        os.close(fd)
        self.on_told(self.notify)  # what it said last comes first
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = None
        self.say(ended={'code': code} if code >= 0
                 else {'signal': signal.Signals(-code).name})

    def on_told(self, notify):
        while True:
            try:
                text = notify.recv(4096, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            self.say(told=text.decode())

    def on_command(self, fd):
        text = os.read(fd, 4096).decode()
        self.going = bool(text)
        for line in text.splitlines():
            word, *rest = line.split()
            if word == 'start':
                self.start()
            elif word == 'stick':
                self.say(stuck=self.stick(*rest))
            elif word == 'unstick':
                self.unstick()
                self.say(stuck=False)
            elif self.pid:
                os.kill(self.pid, signal.Signals[word])

    def ptrace(self, request):
        return ctypes.CDLL(None).ptrace(
            request, self.stuck, None, ctypes.c_void_p(0)) == 0

    def thread(self, name):
        """The number of the program's thread."""
        tasks = f'/proc/{self.pid}/task'
        for task in os.listdir(tasks):
            with open(f'{tasks}/{task}/comm', encoding='utf-8') as comm:
                if comm.read().strip() == name:
                    return int(task)
        raise ValueError(f'no thread {name}')

    def stick(self, name):
        self.stuck = self.thread(name)
        if not (self.ptrace(PTRACE_SEIZE) and self.ptrace(PTRACE_INTERRUPT)):
            return False
        os.waitpid(self.stuck, WALL)
        return True

    def unstick(self):
        self.ptrace(PTRACE_DETACH)
        self.stuck = None

    def run(self):
        self.say(ports=[s.getsockname()[1] for s in self.sockets])
        self.selector.register(0, selectors.EVENT_READ, self.on_command)
        self.selector.register(self.notify, selectors.EVENT_READ,
                               self.on_told)
        while self.going:
            for key, _ in self.selector.select():
                key.data(key.fileobj)
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
        self.directory.cleanup()


def main():
    names, *command = sys.argv[1:]
    Manager(names.split(':') if names else [], command).run()


if __name__ == '__main__':
    main()
