"""Starts or joins a Ray cluster, quietly and within a time limit; without an address, on loopback alone."""

import logging
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

from acmix_nas.errors import StudyError, UsageError
from acmix_nas.executors._start import environment_variables

log = logging.getLogger(__name__)

AUTO = "auto"
STORAGE = "ACMIX_STORAGE"
CONNECT_S, ANSWER_S = 5, 30
LOOPBACK = "127.0.0.1"
SETTINGS = {
    # Set to 0, Ray takes 127.0.0.1 for the address of this node, and all its servers listen there alone:
    # get_node_ip_address in ray/_private/services.py, https://github.com/ray-project/ray/issues/18730.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""The environment of a Ray that this process starts."""


def check_installed() -> None:
    """Checks that Ray is installed, without importing it.

    Raises:
        UsageError: It is not installed.
    """
    if find_spec("ray") is None:
        raise UsageError('--executor ray needs Ray, which is not installed: pip install "acmix-nas[ray]".')


def check_address(address: str | None) -> None:
    """Checks within seconds that something listens at the address of a cluster.

    Args:
        address: HOST:PORT, or "auto" for the cluster that `ray start` started on this machine; None for no cluster.

    Raises:
        UsageError: It is no such address, or nothing listens there.
    """
    if address in (None, AUTO):
        return
    host, _, port = str(address).rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise UsageError(
            f"--ray-address is HOST:PORT, as `ray start --head` prints it, or auto; it is {address!r}. The search "
            "itself runs on a machine of the cluster: ray:// is not taken."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"--ray-address {address}: nothing listens there ({error}). Start the cluster with ray start --head --port "
            f"{port} on {host}, or name another."
        ) from None


@contextmanager
def connected(address: str | None, *, cpus: int) -> Iterator[Any]:
    """The module `ray`, connected to a cluster.

    A connection that this process already has is used and left open.

    Args:
        address: As in `check_address`; None starts a Ray, which stops at the end of the block.
        cpus: CPUs of the Ray that is started here.

    Raises:
        StudyError: It cannot be started or joined.
    """
    with ExitStack() as stack:
        # The driver alone accesses the storage: no process that starts here gets its password.
        stack.enter_context(environment_variables({STORAGE: None, **(SETTINGS if address is None else {})}))
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        import ray

        if ray.is_initialized():
            stack.close()
            yield ray
            return
        with _own_signals():
            _start(ray, address, cpus)
        stack.close()
        try:
            yield ray
        finally:
            with warnings.catch_warnings(action="ignore"), _own_signals():
                ray.shutdown()


def _start(ray: Any, address: str | None, cpus: int) -> None:
    where: dict[str, Any] = {"address": address}
    if address is None:
        where = {"address": "local", "num_cpus": cpus, "include_dashboard": False, "_node_ip_address": LOOPBACK}
    else:
        _check_ray_answers(address)
    try:
        ray.init(**where, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:  # Ray has no common error for this
        what = "Ray cannot be started here" if address is None else f"the Ray cluster at {address} cannot be joined"
        reason = " ".join(str(error).split())
        raise StudyError(
            f"{what}: {reason}. The machine of the search is one of the cluster, with the same versions of Ray and "
            "Python: ray start --address HOST:PORT joins it."
        ) from error
    here = {node["NodeManagerAddress"] for node in ray.nodes()}
    if address is None and here != {LOOPBACK}:
        log.warning("Ray listens on %s: it was imported before acmix could set its address", ", ".join(sorted(here)))


def _check_ray_answers(address: str) -> None:
    """Asks in another process, which can be stopped: in this one, Ray would wait for minutes."""
    where = [] if address == AUTO else ["--address", address]
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", *where]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, check=False)
    except subprocess.TimeoutExpired:
        raise StudyError(
            f"--ray-address {address}: the server there is no Ray; it gave no answer within {ANSWER_S} s."
        ) from None
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise StudyError(f"--ray-address {address}: no Ray cluster is found there ({' '.join(last)}).")


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keeps the handler of SIGTERM, which Ray replaces; what Ray starts ignores SIGHUP of the terminal."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
