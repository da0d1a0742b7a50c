"""Keeps an application imported, so that each run of its migration tool takes a fork and no second of imports.

    keeper.py APPLICATION steps          the steps of its history as JSON: a name, and files with their places
    keeper.py APPLICATION serve SOCKET   runs what `shim.py` hands over, one process each
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
import traceback


def serve(application, path):
    application.warm()
    # The pages of what is imported stay shared with the forks.
    gc.freeze()
    # Nobody waits for those that are forked: they tell their exit code themselves.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    while True:
        client, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            run(application, client)
        client.close()


def run(application, client):
    _, files, _, _ = socket.recv_fds(client, 1, 3)
    parts = []
    while part := client.recv(65536):
        parts.append(part)
    words, folder, environment = json.loads(b"".join(parts))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    code = 1
    try:
        code = application.run(words) or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    client.sendall(str(code).encode())
    os._exit(code)


if __name__ == "__main__":
    # Every run reads all migrations up to its own.
    sys.dont_write_bytecode = False
    sys.path.insert(0, os.getcwd())
    application = importlib.import_module(sys.argv[1])
    if sys.argv[2] == "steps":
        print(json.dumps(application.steps()))
    else:
        serve(application, sys.argv[3])
