"""Kernels forked from one process that has read PyTorch, Matplotlib and IPython already

    kernels = Warm()
    process = kernels.fork(['-f', connection_file], folder)

Each notebook has a process, a memory and a folder of its own as with any kernel, and nothing of `loco` is imported before. Only the three to five
seconds in which Python reads these packages are spent once instead of a hundred times. Needs `fork` to be safe after importing, which it is on Linux.
"""
import atexit, importlib, json, os, signal, subprocess, sys, time
from contextlib import suppress
from pathlib import Path

import psutil
from jupyter_client.provisioning import LocalProvisioner
from nbclient import NotebookClient

POSSIBLE = sys.platform == 'linux'
PACKAGES = 'ipykernel.kernelapp ipykernel.ipkernel ipywidgets matplotlib_inline.backend_inline matplotlib.pyplot numpy pandas scipy.signal torch torch._dynamo'.split()

# ---------------------------------------------------------------- the process that is forked

def kernel(words, folder):
    "Be a kernel, as `python -m ipykernel_launcher` is"
    import numpy
    from ipykernel.kernelapp import IPKernelApp
    os.setsid()
    os.chdir(folder)
    numpy.random.seed()                                        # or all would draw the numbers that the first process would have drawn
    sys.argv = ['ipykernel_launcher.py', *words]
    sys.path[:] = [o for o in sys.path if o != str(Path(__file__).parent)]
    try: IPKernelApp.launch_instance(parent_handle=os.getppid())     # it ends when its parent does
    finally: leave()

def leave():
    "End at once: what was registered for the end is done, and Python does not spend a second or two on taking its modules apart"
    atexit._run_exitfuncs()
    os._exit(0)

def reap(*_):
    "Take leave of kernels that have ended, so that the seconds they took are counted with ours"
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: pass
    except ChildProcessError: pass

def serve():
    "For each line of standard input, its words and folder, fork a kernel and say its number"
    for o in PACKAGES: importlib.import_module(o)
    signal.signal(signal.SIGCHLD, reap)
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    for line in iter(sys.stdin.readline, ''):
        if not (pid := os.fork()):
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            answers.close()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            return kernel(*json.loads(line))
        print(pid, file=answers, flush=True)

# ---------------------------------------------------------------- who asks for kernels

class Forked:
    "A kernel that is not our child, with as much of `subprocess.Popen` as Jupyter's provisioner uses"
    stdin = stdout = stderr = None
    def __init__(self, pid): self.pid, self.process = pid, psutil.Process(pid)
    def poll(self):
        "`None` while it runs; it may end between two questions"
        try: return None if self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE else 0
        except psutil.NoSuchProcess: return 0
    def wait(self):
        while self.poll() is None: time.sleep(.01)
        return 0
    def send_signal(self, number):
        "As `Popen`: nothing happens to a process that has ended"
        with suppress(psutil.NoSuchProcess): self.process.send_signal(number)
    def terminate(self): self.send_signal(signal.SIGTERM)
    def kill(self): self.send_signal(signal.SIGKILL)

class Warm:
    "The process that is forked, started when the first kernel is asked for"
    def __init__(self):
        self.server, self.owner = None, None
        atexit.register(self.close)

    def close(self):
        if self.server is None or self.owner != os.getpid(): return
        self.server.stdin.close()
        self.server.wait()

    def fork(self, words, folder):
        "A kernel with these command line arguments in this folder"
        if self.server is None or self.owner != os.getpid() or self.server.poll() is not None:
            self.owner = os.getpid()
            self.server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        print(json.dumps([words, str(folder)]), file=self.server.stdin, flush=True)
        return Forked(int(self.server.stdout.readline()))

warm = Warm()

class Provisioner(LocalProvisioner):
    "Launches a kernel by forking"
    async def launch_kernel(self, cmd, **kw):
        self.process = warm.fork(cmd[cmd.index('ipykernel_launcher') + 1:], kw['cwd'])
        self.pid = self.pgid = self.process.pid
        return self.connection_info

class WarmClient(NotebookClient):
    "Executes a notebook in a forked kernel"
    def create_kernel_manager(self):
        km = super().create_kernel_manager()
        km.provisioner = Provisioner(kernel_id='warm', kernel_spec=km.kernel_spec, parent=km)
        return km
    async def _async_cleanup_kernel(self):
        "The heart is not listened to any more when the kernel ends: a beat that nobody answers would be waited for, a second for each notebook"
        if self.kc and self.kc.hb_channel.is_alive(): self.kc.hb_channel.stop()
        await super()._async_cleanup_kernel()

if __name__ == '__main__': serve()
