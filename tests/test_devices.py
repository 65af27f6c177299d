"tests/devices.py in a process of its own, for PyTorch cannot be made to forget the device that it makes up"
import os, subprocess, sys
from common import ROOT

def test_devices():
    env = {k: v for k, v in os.environ.items() if not k.startswith('PYTEST_')}
    done = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-p', 'no:xdist', '-p', 'no:cacheprovider', 'tests/devices.py'], cwd=ROOT, env=env, capture_output=True, text=True)
    assert not done.returncode, done.stdout[-4000:] + done.stderr[-1000:]
