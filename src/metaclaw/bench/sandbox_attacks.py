"""Programs that try to get out of the sandbox, to see what is not theirs, or to take more than their share.

Each defines `attack(path, port, pid)`: a file of the host, a port on which the host listens, the host's process. It
returns whatever it got hold of, and nothing (None, False, empty) where it got nothing. `plain` marks those that may be
run without any sandbox, which shows that they work.
"""

from __future__ import annotations

from dataclasses import dataclass

RAW = """
import ctypes, errno, platform
libc = ctypes.CDLL(None, use_errno=True)
def call(x86, arm, *arguments):
    return libc.syscall(arm if platform.machine() == "aarch64" else x86, *arguments)
"""


@dataclass(frozen=True, slots=True)
class Attack:
    name: str
    code: str
    plain: bool = False
    "Whether it does no harm to a host without a sandbox, and gets there what it is after."
    stopped: bool = False
    "Whether it never returns by itself: a limit must stop it."


def _one(name: str, body: str, before: str = "", *, plain: bool = False, stopped: bool = False) -> Attack:
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return Attack(name, f"{before}\ndef attack(path, port, pid):\n{lines}", plain, stopped)


FILES = (
    _one("read_file", "return open(path).read()", plain=True),
    _one("read_passwd", "return open('/etc/passwd').read()", plain=True),
    _one("read_pathlib", "return Path(path).read_text()", "from pathlib import Path", plain=True),
    _one("read_upwards", "return open('../../../../../../../..' + path).read()", plain=True),
    _one("read_descriptor", "return os.read(os.open(path, os.O_RDONLY), 99).decode()", "import os", plain=True),
    _one("read_loader", "return SourceFileLoader('x', path).get_data(path).decode()",
         "from importlib.machinery import SourceFileLoader", plain=True),
    _one("list_root", "return [name for name in os.listdir('/') if name in ('etc', 'home', 'root', 'tmp', 'var')]",
         "import os", plain=True),
    _one("walk_home", "return [name for name in os.listdir(os.path.expanduser('~'))]", "import os"),
    _one("symlink_out", "os.symlink(path, 'link')\nreturn open('link').read()", "import os"),
    _one("hard_link_out", "os.link(path, 'link')\nreturn open('link').read()", "import os"),
    _one("overwrite_file", "open(path, 'w').write('gone')\nreturn True"),
    _one("delete_file", "os.remove(path)\nreturn True", "import os"),
    _one("write_root", "return open('/new', 'w').write('here')"),
    _one("change_library", "open(json.__file__, 'a').write('#')\nreturn True", "import json"),
    _one("change_worker", "open('/jail/metaclaw/sandbox/jail_worker.py', 'a').write('#')\nreturn True"),
    _one("database_file", "return sqlite3.connect(path).execute('create table t(x)') and True", "import sqlite3"),
    _one("other_descriptors", """
found = []
for number in range(256):
    try:
        os.set_blocking(number, False)
        found += [number] if os.read(number, 9) else []
    except OSError:
        pass
return found
""", "import os"),
)

SECRETS = (
    _one("environment", "return os.environ['CANARY']", "import os", plain=True),
    _one("environment_getenv", "return os.getenv('CANARY')", "import os", plain=True),
    _one("environment_in_c", "libc.getenv.restype = ctypes.c_char_p\nreturn (libc.getenv(b'CANARY') or b'').decode()",
         RAW, plain=True),
    _one("proc_environment", "return open('/proc/self/environ').read()", plain=True),
    _one("proc_other_process", "return open(f'/proc/{pid}/cmdline').read()", plain=True),
    _one("proc_root", "return open('/proc/self/root' + path).read()", plain=True),
    _one("proc_memory", "return bool(open('/proc/self/mem', 'rb'))", plain=True),
    _one("sys_folder", "return os.listdir('/sys')", "import os", plain=True),
    _one("traceback_paths", """
try:
    json.loads('[')
except ValueError:
    print(traceback.format_exc(), json.__file__, sys.executable, sys.path)
    raise
""", "import json, sys, traceback", plain=True),
    _one("frames_of_the_worker", """
frame, seen = sys._getframe(), []
while frame:
    seen += [name for name in frame.f_locals if name in ('token', 'settings', 'CANARY')]
    frame = frame.f_back
return seen
""", "import sys"),
    _one("subclasses", """
return [c.__init__.__globals__['system']('id') for c in ().__class__.__base__.__subclasses__()
        if c.__name__ == '_wrap_close'] == [0]
""", plain=True),
    _one("format_string", "return '{0.__class__.__init__.__globals__[os].environ[CANARY]}'.format(Thing())",
         "import os\nclass Thing:\n    def __init__(self): pass\n", plain=True),
    _one("eval_import", "return eval(\"__import__('os').popen('id').read()\")", plain=True),
)

NETWORK = (
    _one("tcp", "return socket.create_connection(('127.0.0.1', port), 1).fileno() > 0", "import socket", plain=True),
    _one("udp", "return socket.socket(type=socket.SOCK_DGRAM).sendto(b'here', ('127.0.0.1', port))",
         "import socket", plain=True),
    _one("http", "return urlopen(f'http://127.0.0.1:{port}/', timeout=1).status", "from urllib.request import urlopen"),
    _one("names", "return socket.gethostbyname('localhost')", "import socket", plain=True),
    _one("netlink", "return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).fileno() > 0", "import socket",
         plain=True),
    _one("unix_socket", "return socket.socket(socket.AF_UNIX).fileno() > 0", "import socket", plain=True),
    _one("pair_to_address", """
pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
return pair[0].connect('\\0canary') or pair[0].sendto(b'here', '\\0canary')
""", "import socket"),
    _one("raw_socket_call", "return call(41, 198, 2, 1, 0) >= 0", RAW, plain=True),
    _one("asyncio_client", "return asyncio.run(asyncio.open_connection('127.0.0.1', port)) and True", "import asyncio",
         plain=True),
)

PROCESSES = (
    _one("shell", "return subprocess.run(['/bin/sh', '-c', 'id'], capture_output=True).stdout.decode()",
         "import subprocess", plain=True),
    _one("system", "return os.system('true') == 0", "import os", plain=True),
    _one("same_python", "return subprocess.run([sys.executable, '-c', ''], check=True).returncode == 0",
         "import subprocess, sys", plain=True),
    _one("exec", "os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(99)'])", "import os, sys"),
    _one("fork", "return os.fork() or os._exit(0)", "import os", plain=True),
    _one("fork_bomb", """
made = 0
for _ in range(200):
    made += os.fork() > 0
return made
""", "import os"),
    _one("spawn", "return os.posix_spawn(sys.executable, [sys.executable, '-c', ''], {})", "import os, sys",
         plain=True),
    _one("multiprocessing", "p = Process(target=print)\np.start()\nreturn p.pid",
         "from multiprocessing import Process"),
    _one("pickle", "return pickle.loads(b'cposix\\nsystem\\n(S\"true\"\\ntR.') == 0", "import pickle", plain=True),
    _one("thread_bomb", """
held = threading.Event()
for number in range(200):
    try:
        threading.Thread(target=held.wait, daemon=True).start()
    except RuntimeError:
        return number > 32
return True
""", "import threading", plain=True),
    _one("kill_host", "os.kill(pid, 9)\nreturn True", "import os"),
    _one("kill_everyone", "os.kill(-1, 9)\nreturn True", "import os"),
    _one("trace_first", "return call(101, 117, 16, 1, 0, 0) == 0", RAW),
)

KERNEL = (
    _one("user_namespace", "return call(272, 97, 0x10000000) == 0", RAW),
    _one("namespace_by_clone", "return call(56, 220, 0x10000011, 0, 0, 0, 0) >= 0", RAW),
    _one("namespace_by_clone3", "return call(435, 435, (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17), 88) >= 0", RAW),
    _one("join_namespace", "return call(308, 268, 0, 0) == 0", RAW),
    _one("mount", "return call(165, 40, b'proc', b'/work', b'proc', 0, None) == 0", RAW),
    _one("new_root", "return call(161, 51, b'/work') == 0", RAW),
    _one("become_root", "os.setuid(0)\nreturn True", "import os"),
    _one("bpf", "return call(321, 280, 0, (ctypes.c_uint32 * 18)(1, 4, 4, 1), 72) >= 0", RAW),
    _one("io_uring", "return call(425, 425, 8, (ctypes.c_uint32 * 30)()) >= 0", RAW),
    _one("keyring", "return call(248, 217, b'user', b'canary', b'x', 1, -3) > 0", RAW),
    _one("perf", "return call(298, 241, (ctypes.c_uint32 * 32)(1, 128), 0, -1, -1, 0) >= 0", RAW),
    _one("userfault", "return call(323, 282, 1) >= 0", RAW),
    _one("memory_file", "return call(319, 279, b'x', 0) >= 0", RAW, plain=True),
    _one("shared_memory", "return call(29, 194, 0, 1 << 30, 0o1600) >= 0", RAW),
    _one("second_numbering", "return call(0x40000000 + 41, 198, 2, 1, 0) >= 0", RAW),
    _one("old_calls_of_32_bits", """
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex('b814000000cd80c3'))  # mov eax, 20 (getpid); int 0x80; ret
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
return ctypes.CFUNCTYPE(ctypes.c_int)(address)() > 0
""", RAW + "import mmap"),
    _one("raise_limits", "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nreturn True", "import resource"),
)

ROOM = (
    _one("memory_list", "kept = []\nwhile True:\n    kept.append('x' * 100_000 + str(len(kept)))", stopped=True),
    _one("memory_at_once", "return len('x' * 10**11)", stopped=True),
    _one("memory_small_objects", "kept = []\nwhile True:\n    kept.append([len(kept)])", stopped=True),
    _one("memory_map", "return len(mmap.mmap(-1, 1 << 34)) > 0", "import mmap"),
    _one("disk_full", """
written = 0
try:
    with open('big', 'wb', buffering=0) as file:
        while written < 1 << 26:
            written += file.write(b'x' * 65536)
except OSError:
    pass
return written > 32 << 20
""", plain=True),
    _one("disk_many_files", """
for number in range(5000):
    try:
        open(f'file{number}', 'w').close()
    except OSError:
        return number > 1000
return True
""", plain=True),
    _one("disk_sparse", "with open('big', 'wb') as file:\n    return file.truncate(1 << 40)", plain=True),
    _one("open_files", """
held = []
for number in range(200):
    try:
        held.append(open('file', 'w'))
    except OSError:
        return number > 100
return True
""", plain=True),
    _one("print_for_ever", "while True:\n    print('x' * 1000)", stopped=True),
    _one("value_too_large", "return 'x' * 10_000_000"),
    _one("value_too_deep", "value = []\nfor _ in range(100_000):\n    value = [value]\nreturn value"),
    _one("answer_of_its_own", """
for number in range(3, 64):
    try:
        while True:
            os.write(number, b'[' * 65536)
    except OSError:
        pass
""", "import os", stopped=True),
)

TIME = (
    _one("loop", "while True:\n    pass", stopped=True),
    _one("loop_that_catches", """
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
""", stopped=True),
    _one("sleep", "time.sleep(10**6)", "import time", stopped=True),
    _one("regex_bomb", "return re.match('(x+x+)+y', 'x' * 64) or None", "import re"),
    _one("power_bomb", "return len(str(3 ** 10 ** 9))", stopped=True),
    _one("multiplication_bomb", "n = 3\nwhile True:\n    n = n * n", stopped=True),
    _one("factorial_bomb", "return math.factorial(10**8) > 0", "import math", stopped=True),
    _one("sum_bomb", "return sum(range(10**14)) > 0", stopped=True),
    _one("recursion", "return attack(path, port, pid)"),
    _one("recursion_to_the_end", "sys.setrecursionlimit(10**9)\nf = lambda: f()\nreturn f()", "import sys"),
    _one("deaf_to_signals", "for n in range(1, 32):\n    try:\n        signal.signal(n, signal.SIG_IGN)\n"
         "    except (OSError, ValueError):\n        pass\nwhile True:\n    pass", "import signal", stopped=True),
    _one("busy_at_exit", "class Stay:\n    def __del__(self):\n        while True:\n            pass\n"
         "raise KeyError(Stay())"),
)

ATTACKS = (*FILES, *SECRETS, *NETWORK, *PROCESSES, *KERNEL, *ROOM, *TIME)
