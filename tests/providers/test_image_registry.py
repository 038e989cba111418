"""What a registry tells of an image, and what becomes of a registry that tells nonsense."""

from __future__ import annotations

import shlex
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.registry import TOKEN, Registry, registry

from gpunb.providers.machine.image_registry import Unread, look_up, reference

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = {
    "Entrypoint": ["/opt/serve.sh"],
    "Cmd": ["--port", "8000", "it's $HOME"],
    "WorkingDir": "/srv/my app",
}


@pytest.fixture
def there() -> Iterator[Registry]:
    with registry() as found:
        yield found


@pytest.mark.parametrize(
    ("image", "where"),
    [
        ("ubuntu", "https://registry-1.docker.io/v2/library/ubuntu latest"),
        ("pytorch/pytorch:2.5.1-cuda12.4", "https://registry-1.docker.io/v2/pytorch/pytorch 2.5.1-cuda12.4"),
        ("docker.io/nvidia/cuda:12.8.1-devel", "https://registry-1.docker.io/v2/nvidia/cuda 12.8.1-devel"),
        ("ghcr.io/my-org/a/b:v1", "https://ghcr.io/v2/my-org/a/b v1"),
        ("registry.example:5000/x", "https://registry.example:5000/v2/x latest"),
        ("localhost:5000/x:1", "http://localhost:5000/v2/x 1"),
        (
            f"nvcr.io/nvidia/pytorch:24.10@sha256:{'a' * 64}",
            f"https://nvcr.io/v2/nvidia/pytorch sha256:{'a' * 64}",
        ),
    ],
)
def test_a_name_is_read_as_docker_reads_it(image: str, where: str) -> None:
    found = reference(image)
    assert f"{found.base} {found.tag}" == where


@pytest.mark.parametrize(
    "image",
    [
        "",
        "vastai/pytorch:@vastai-automatic-tag",
        "Upper/case:1",
        "a/../b:1",
        "x:1 2",
        "evil.example/x?y=1:1",
        "127.0.0.1:5000@evil.example/x:1",
        "ghcr.io/x:1\nHost: y",
    ],
)
def test_what_no_registry_has_is_not_asked_for(image: str) -> None:
    with pytest.raises(Unread, match="must be a name with a tag"):
        reference(image)


@pytest.mark.parametrize("index", [True, False])
def test_entrypoint_folder_and_size(there: Registry, index: bool) -> None:
    image = there.add("me/serve", "1", CONFIG, sizes=[3_000_000_000, 1_200_000_000], index=index)
    found = look_up(image)
    assert found.size_gb == pytest.approx(4.2)
    assert found.words == ("/opt/serve.sh", "--port", "8000", "it's $HOME")
    run = subprocess.run(
        ["sh", "-c", f'cd() {{ echo "in $1"; }}; {found.command.replace("/opt/serve.sh", "printf %s+", 1)}'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "in /srv/my app\n--port+8000+it's $HOME+", "one word stays one word"
    assert shlex.split(found.command)[:3] == ["cd", "/srv/my app", "&&"]
    blobs = [auth for path, auth in there.asked if path.startswith("/cdn/")]
    assert blobs in ([""], [f"Bearer {TOKEN}"])
    assert all(auth in {"", f"Bearer {TOKEN}"} for _, auth in there.asked), "no other login is shown"


@pytest.mark.parametrize(
    ("config", "command"),
    [
        ({}, ""),
        ({"Cmd": ["python3"]}, "python3"),
        ({"Entrypoint": None, "Cmd": ["sh", "-c", "a; b"], "WorkingDir": "/"}, "sh -c 'a; b'"),
        ({"Entrypoint": "text", "Cmd": 5, "WorkingDir": 7}, ""),
        ({"Cmd": ["a\nb"]}, ""),
        ({"Cmd": ["\x1b[2J"]}, ""),
        ({"Cmd": ["x" * 3000]}, ""),
    ],
)
def test_what_is_no_command_is_none(there: Registry, config: dict[str, Any], command: str) -> None:
    found = look_up(there.add("me/x", "1", config, sizes=[10**9, -5, 2**60]))
    assert found.command == command
    assert found.size_gb == 1.0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"/v2/me/x/manifests/": 404}, "me/x:1 at .* is not there"),
        ({"/v2/me/x/manifests/": 429}, "too many calls"),
        ({"/v2/me/x/manifests/": 500}, "was answered 500"),
        ({"/token": 401}, "is not shown without a login"),
        ({"/token": (200, {}, b'{"token": "two\\nlines"}')}, "is not shown without a login"),
        ({"/v2/me/x/manifests/": (200, {}, b"<html>")}, r"no answer that can be read \(JSONDecodeError\)"),
        ({"/v2/me/x/manifests/": (200, {}, b"[" * 100_000)}, "no answer that can be read"),
        ({"/v2/me/x/manifests/": (200, {}, b" " * 5 * 2**20)}, "TooLargeError"),
        ({"/v2/me/x/manifests/": (200, {}, b'{"manifests": [{"platform": 3}, 4]}')}, "none for linux/amd64"),
        (
            {"/v2/me/x/manifests/": (200, {}, b'{"config": {"digest": "sha256:../../.."}}')},
            "of an unknown kind",
        ),
        ({"/v2/me/x/blobs/": (307, {"Location": "https://10.0.0.5/x"}, b"")}, "into a network of its own"),
        ({"/v2/me/x/blobs/": (307, {"Location": "https://[fe80::1]/x"}, b"")}, "into a network of its own"),
        (
            {"/v2/me/x/blobs/": (307, {"Location": "http://registry.example/x"}, b"")},
            "an address that is not followed",
        ),
        (
            {"/v2/me/x/blobs/": (307, {"Location": "file:///etc/passwd"}, b"")},
            "an address that is not followed",
        ),
        ({"/v2/me/x/manifests/1": (307, {"Location": "/v2/me/x/manifests/1"}, b"")}, "sent on too often"),
        (
            {
                "/v2/me/x/manifests/": (
                    401,
                    {"WWW-Authenticate": 'Bearer realm="https://evil.example/t"'},
                    b"",
                )
            },
            "an address that is not followed",
        ),
        ({"/v2/me/x/manifests/": (401, {"WWW-Authenticate": "Basic"}, b"")}, "without a login"),
    ],
)
def test_a_registry_that_tells_nonsense_tells_nothing(
    there: Registry, wrong: dict[str, Any], says: str
) -> None:
    image = there.add("me/x", "1", CONFIG, sizes=[1])
    there.wrong = wrong
    with pytest.raises(Unread, match=says):
        look_up(image)


def test_one_that_is_silent_is_waited_for_no_longer_than_was_said(there: Registry) -> None:
    image = there.add("me/x", "1", CONFIG, sizes=[1])
    there.wrong = {"/v2/": 30.0}
    began = time.monotonic()
    with pytest.raises(Unread):
        look_up(image, patience_s=0.3)
    assert time.monotonic() - began < 3.0
