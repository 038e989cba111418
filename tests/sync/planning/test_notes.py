"""What must not be missed of a plan: links, credentials, patterns without effect."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from gpunb.sync.local.scan import folders
from gpunb.sync.local.tree import LocalSide
from gpunb.sync.planning.credentials import is_credential
from gpunb.sync.planning.notes import speak_up
from gpunb.sync.planning.plan import Tree
from gpunb.sync.planning.planner import Merge
from gpunb.sync.planning.rules import SECRET, Rules

if TYPE_CHECKING:
    from pathlib import Path

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\n"
CREDENTIALS = [
    *(".env", ".env.local", ".env-prod", "conf/prod.env", ".ENV", ".envrc", ".netrc", "deep/er/.netrc"),
    *("id_rsa", ".ssh/id_ed25519", "server.pem", "tls/private.key", ".aws/credentials", "x/.kube/config"),
    *(
        "kubeconfig",
        "dev.kubeconfig",
        ".config/gcloud/legacy/adc.json",
        ".huggingface/token",
        ".git-credentials",
    ),
    *(".cache/huggingface/token", "kaggle.json", "my-service-account.json", ".pypirc"),
    *(
        ".docker/config.json",
        "client_secret_1.json",
        ".streamlit/secrets.toml",
        "x.p12",
        "vpn.ovpn",
        ".npmrc",
    ),
]
HARMLESS = [
    *(".env.example", ".env.sample", "environment.yml", "env.py", "id_map.json", "id_rsa.pub", "config.json"),
    *("token", "tokenizer.json", "data/token", "keys.csv", "monkey", "cert.pem", "public.key", "kube/config"),
]


def plan_of(root: Path, **options: object) -> tuple[set[str], list[str]]:
    rules = Rules(root, **options)  # type: ignore[arg-type]
    tree = Tree()
    plan = Merge(rules, tree, LocalSide(root / "none", {}), exists=False).run(folders(root, rules, tree))
    speak_up(plan, rules)
    return {item.path for item in plan.items}, plan.notes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = tmp_path / "project"
    for name in (*CREDENTIALS, *HARMLESS):
        path = found / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "-----BEGIN CERTIFICATE-----\n" if name in ("cert.pem", "public.key") else KEY
        path.write_text("//registry/:_authToken=x" if name == ".npmrc" else text)
    return found


def test_credentials_stay_and_are_named(root: Path) -> None:
    go, notes = plan_of(root, hold=True)
    assert go == set(HARMLESS)
    assert any("does not go to a stranger" in note and "--include" in note for note in notes)
    go, _ = plan_of(root, hold=True, include=[".env", "/conf/prod.env"])
    assert go == {*HARMLESS, ".env", "conf/prod.env"}


def test_on_a_machine_of_ones_own_they_go_and_are_named(root: Path) -> None:
    go, notes = plan_of(root)
    assert go == {*HARMLESS, *CREDENTIALS}
    assert any("goes too, and looks like credentials" in note for note in notes)


def test_the_folder_that_is_synced_counts_too(root: Path) -> None:
    assert plan_of(root / ".aws", hold=True)[0] == set()
    assert plan_of(root / ".config/gcloud", hold=True)[0] == set()


def test_of_a_host_names_alone_count() -> None:
    rules = Rules(None, hold=True)
    assert rules.why_out("a/.env", folder=False) == SECRET
    assert rules.why_out("a/id_rsa", folder=False) == SECRET
    assert not is_credential("data/id_of_rows")


def test_links_are_named_with_where_they_lead(tmp_path: Path) -> None:
    (tmp_path / "ssd").mkdir()
    root = tmp_path / "project"
    root.mkdir()
    (root / "a.py").write_text("x")
    (root / "data").symlink_to(tmp_path / "ssd")
    (root / "odd.py").symlink_to("x/../a.py")
    (root / "x").mkdir()
    (root / "up").symlink_to("x/../../ssd")
    go, notes = plan_of(root)
    assert go == {"a.py", "odd.py"}
    (note,) = (note for note in notes if "--follow-links" in note)
    assert f"data -> {tmp_path}/ssd" in note


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"exclude": ["*"], "include": ["*.py"]}, r"--include '\*.py' has no effect"),
        (
            {"exclude": ["data/"], "include": ["data/big.bin"]},
            "'data/big.bin' has no effect",
        ),
        ({"exclude": ["./data"]}, "--exclude './data' matches nothing: .* write '/data'"),
        ({"exclude": ["data\\big.bin"]}, "matches nothing"),
        ({"exclude": ["../src/data"]}, "matches nothing: patterns begin in the folder"),
        ({"exclude": ["nothere"]}, "--exclude 'nothere' matches nothing"),
        ({"include": ["nothere"]}, "--include 'nothere' matches nothing"),
        ({"include": ["no/where"]}, "--include 'no/where' matches nothing"),
        ({"exclude": ["{root}/data"]}, "matches nothing: .* write '/data'"),
    ],
)
def test_patterns_without_effect_are_named(tmp_path: Path, options: dict[str, list[str]], says: str) -> None:
    for name in ("a.py", "data/big.bin", "out/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    given = {name: [one.format(root=tmp_path) for one in patterns] for name, patterns in options.items()}
    _, notes = plan_of(tmp_path, **given)
    found = "\n".join(notes)
    assert re.search(says, found), found


def test_what_the_hint_says_works(tmp_path: Path) -> None:
    for name in ("a.py", "data/big.bin", "out/b.py", "out/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    go, notes = plan_of(tmp_path, exclude=["*", "!*/", "!*.py"])
    assert (go, notes) == ({"a.py", "out/b.py"}, [])
    go, notes = plan_of(tmp_path, exclude=["data"], include=["out/c.txt"])
    assert (go, notes) == ({"a.py", "out/b.py", "out/c.txt"}, [])
