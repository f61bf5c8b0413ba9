"""No signal is slept through."""

import signal
import subprocess
import sys

PROGRAM = """
import signal, threading, time
from agent.signals import awaited_signals, next_signal

signals = awaited_signals()
for _ in range(8):  # threads that wake all the time, as those of a busy service
    threading.Thread(target=lambda: [time.sleep(0.001) for _ in iter(int, 1)], daemon=True).start()
print("ready", flush=True)
while next_signal(signals) == signal.SIGHUP:
    pass
"""


def test_a_stop_right_after_a_reload_is_not_slept_through():
    programs = [
        subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
        for _ in range(12)
    ]
    try:
        for program in programs:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            program.send_signal(signal.SIGHUP)
            program.send_signal(signal.SIGTERM)
        for program in programs:
            assert program.wait(20) == 0
    finally:
        for program in programs:
            program.kill()
            program.communicate()
