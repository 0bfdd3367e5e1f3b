"""Manifests: signed pictures are valid, changed ones are not, and nothing hostile gets through."""

from __future__ import annotations

import datetime as dt
import io
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from c2pa import Builder, C2paSignerInfo, Reader, Signer
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ketchup.clock import FrozenClock, SystemClock, after
from ketchup.provenance import containers, signer
from ketchup.provenance.containers import Source
from ketchup.provenance.mark import Claim, Marker, NotSigned
from ketchup.provenance.signer import Credential, CredentialUnusable, load, load_or_make
from ketchup.provenance.verify import State, verify
from ketchup.providers.base import ImageFormat
from tests.support.pictures import encoded, noise, opened, photo, png_chunk

CLAIM = Claim(Source.MODEL, "google/gempix2", "0.1.0")
FORMATS = tuple(ImageFormat)
YEAR = 365 * 86400.0


@pytest.fixture(scope="module")
def credential(tmp_path_factory: pytest.TempPathFactory) -> Credential:
    return load_or_make(tmp_path_factory.mktemp("data"), SystemClock())


@pytest.fixture(scope="module")
def marker(credential: Credential) -> Marker:
    return Marker(credential)


def picture(image_format: ImageFormat, image: Image.Image | None = None) -> bytes:
    return encoded(image or photo(), image_format.name)


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_signed_picture_is_valid_says_what_made_it_and_has_the_same_pixels(
    marker: Marker, credential: Credential, image_format: ImageFormat
) -> None:
    before = picture(image_format)

    signed = marker.sign(before, image_format, CLAIM)

    report = verify(signed)
    assert report.state is State.VALID
    assert (report.signer, report.generator) == ("Ketchup", "Ketchup 0.1.0")
    assert report.model == "google/gempix2"
    assert report.source == report.mark == "trainedAlgorithmicMedia"
    assert report.problems == ("signingCredential.untrusted",)
    assert verify(signed, [credential.anchor]).state is State.TRUSTED
    assert opened(signed).tobytes() == opened(before).tobytes()
    # No thumbnail: that would be a second picture in the file.
    assert len(signed) - len(before) < 6_000


@pytest.mark.parametrize("image_format", FORMATS)
def test_whoever_trusts_another_authority_does_not_trust_this_one(
    marker: Marker, image_format: ImageFormat, tmp_path: Path
) -> None:
    stranger = load_or_make(tmp_path, SystemClock())

    report = verify(marker.sign(picture(image_format), image_format, CLAIM), [stranger.anchor])

    assert report.state is State.VALID


@pytest.mark.parametrize("image_format", FORMATS)
def test_one_flipped_byte_of_the_picture_is_seen(marker: Marker, image_format: ImageFormat) -> None:
    signed = marker.sign(picture(image_format, noise(16, 16)), image_format, CLAIM)
    start, end = _manifest_in(signed, image_format)

    outside = [*range(start), *range(end, len(signed))]
    for at in outside[:: len(outside) // 80]:
        assert verify(_flipped(signed, at)).state in {State.INVALID, State.NONE}, at


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("said", [b"google/gempix2", b"trainedAlgorithmicMedia", b"c2pa.created"])
def test_one_flipped_byte_of_what_is_said_is_seen(
    marker: Marker, image_format: ImageFormat, said: bytes
) -> None:
    signed = marker.sign(picture(image_format), image_format, CLAIM)
    start, end = _manifest_in(signed, image_format)

    assert verify(_flipped(signed, signed.index(said, start, end))).state is State.INVALID


def _manifest_in(data: bytes, image_format: ImageFormat) -> tuple[int, int]:
    """Where the manifest lies. It has a kilobyte of padding and labels that no reader looks at."""
    parts = containers._PARTS[image_format](data)
    return next((start, end) for start, end, kind in parts if kind in containers._MANIFESTS)


def _flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 0x01
    return bytes(changed)


@pytest.mark.parametrize("image_format", FORMATS)
def test_what_the_studio_draws_is_not_called_ai(marker: Marker, image_format: ImageFormat) -> None:
    claim = Claim(Source.RULES, "studio", "0.1.0")

    report = verify(marker.sign(picture(image_format), image_format, claim))

    assert report.source == report.mark == "algorithmicMedia"


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_manifest_of_an_engine_is_kept(
    marker: Marker, image_format: ImageFormat, tmp_path: Path
) -> None:
    engine = Marker(load_or_make(tmp_path, SystemClock(), "The Engine"))
    # Not every engine writes the mark.
    theirs = engine._signed(picture(image_format), None, image_format, CLAIM)

    signed = marker.sign(theirs, image_format, CLAIM)

    ours = verify(signed)
    assert (ours.state, ours.signer, ours.upstream) == (State.VALID, "Ketchup", ("The Engine",))
    with Reader(image_format.mime_type, io.BytesIO(signed)) as reader:
        # It was judged over the bytes that the engine signed, before they were marked.
        assert "assertion.dataHash.match" in reader.json()
        assert "assertion.dataHash.mismatch" not in reader.json()


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_broken_manifest_of_an_engine_does_not_keep_a_picture_from_being_signed(
    marker: Marker, image_format: ImageFormat
) -> None:
    theirs = bytearray(marker.sign(picture(image_format), image_format, CLAIM))
    at = theirs.index(b"google/gempix2")
    theirs[at : at + 6] = b"nobody"
    if image_format is ImageFormat.PNG:
        start = theirs.index(b"caBX") - 4
        body = theirs[start + 8 : start + 8 + int.from_bytes(theirs[start : start + 4], "big")]
        theirs[start : start + 12 + len(body)] = png_chunk(b"caBX", bytes(body))

    assert verify(bytes(theirs)).state is State.INVALID
    assert verify(marker.sign(bytes(theirs), image_format, CLAIM)).state is State.VALID


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_picture_without_a_manifest_says_so_and_a_stripped_one_too(
    marker: Marker, image_format: ImageFormat
) -> None:
    signed = marker.sign(picture(image_format), image_format, CLAIM)
    stripped = picture(image_format, opened(signed))

    assert verify(picture(image_format)).state is verify(stripped).state is State.NONE


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_mark_joins_what_xmp_is_there(image_format: ImageFormat) -> None:
    theirs = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        b' dc:source="somebody"/></rdf:RDF></x:xmpmeta>'
    )
    before = _with_xmp(image_format, theirs)
    assert opened(before).info["xmp"] == theirs

    found = containers.marked(before, image_format, Source.RULES)

    packet = opened(found).info["xmp"]
    assert b'dc:source="somebody"' in packet
    assert containers.read_mark(found, image_format) == "algorithmicMedia"
    assert opened(found).tobytes() == opened(before).tobytes()
    assert containers.marked(found, image_format, Source.MODEL) == found


def _with_xmp(image_format: ImageFormat, packet: bytes) -> bytes:
    data = picture(image_format)
    if image_format is not ImageFormat.PNG:
        return encoded(photo(), image_format.name, xmp=packet)
    return data[:33] + png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet) + data[33:]


@pytest.mark.parametrize("options", [{}, {"lossless": True}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_every_kind_of_webp_takes_the_mark(options: dict[str, bool], mode: str) -> None:
    before = encoded(noise(37, 21, mode), "WEBP", **options)

    found = containers.marked(before, ImageFormat.WEBP, Source.RULES)

    assert b"algorithmicMedia" in opened(found).info["xmp"]
    assert (opened(found).mode, opened(found).size) == (mode, (37, 21))
    assert opened(found).tobytes() == opened(before).tobytes()


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_manifest_that_nobody_can_read_is_left_out(
    marker: Marker, image_format: ImageFormat
) -> None:
    garbage = _with_garbage_for_a_manifest(image_format)
    assert containers.has_manifest(garbage, image_format)

    report = verify(marker.sign(garbage, image_format, CLAIM))

    assert (report.state, report.upstream) == (State.VALID, ())


def _with_garbage_for_a_manifest(image_format: ImageFormat) -> bytes:
    data, garbage = picture(image_format), b"\0\0\0\x20jumb" + bytes(range(24))
    match image_format:
        case ImageFormat.PNG:
            return data[:33] + png_chunk(b"caBX", garbage) + data[33:]
        case ImageFormat.JPEG:
            body = b"JP\0\x01\0\0\0\x01" + garbage
            return data[:2] + b"\xff\xeb" + struct.pack(">H", len(body) + 2) + body + data[2:]
        case ImageFormat.WEBP:
            body = data[8:] + b"C2PA" + struct.pack("<I", len(garbage)) + garbage
            return b"RIFF" + struct.pack("<I", len(body)) + body


# -- what strangers send --------------------------------------------------------------------------


@given(st.data())
def test_no_change_makes_it_raise_or_say_something_else(data: st.DataObject) -> None:
    image_format = data.draw(st.sampled_from(FORMATS))
    changed = bytearray(_SIGNED[image_format])
    at = data.draw(st.integers(8, len(changed) - 1))
    changed[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=60))

    report = verify(bytes(changed))

    if report.state is State.VALID:
        assert report == verify(_SIGNED[image_format])


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]))
def test_no_garbage_makes_it_raise(garbage: bytes, head: bytes) -> None:
    assert verify(head + garbage).state in {State.NONE, State.INVALID}


def test_an_address_in_a_manifest_is_not_opened(credential: Credential) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        elsewhere = _signed_elsewhere(credential, f"http://127.0.0.1:{server.getsockname()[1]}/m")

        report = verify(elsewhere)

        with pytest.raises(BlockingIOError):
            server.accept()
    assert report.state in {State.NONE, State.INVALID}


def _signed_elsewhere(credential: Credential, address: str) -> bytes:
    """A picture whose manifest is only an address."""
    info = C2paSignerInfo(b"es256", credential.chain, credential.key, None)
    action = {"action": "c2pa.created", "digitalSourceType": "http://c2pa.org/x"}
    out = io.BytesIO()
    with (
        Builder({"assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}]}) as b,
        Signer.from_info(info) as by,
    ):
        b.set_no_embed()
        b.set_remote_url(address)
        b.sign(by, "image/jpeg", io.BytesIO(picture(ImageFormat.JPEG)), out)
    assert address.encode() in out.getvalue()
    return out.getvalue()


def _made_here() -> dict[ImageFormat, bytes]:
    import tempfile  # noqa: PLC0415 for this alone

    with tempfile.TemporaryDirectory() as folder:
        marker = Marker(load_or_make(Path(folder), SystemClock()))
    return {f: marker.sign(picture(f), f, CLAIM) for f in FORMATS}


_SIGNED = _made_here()


@pytest.mark.parametrize("image_format", FORMATS)
def test_what_is_no_picture_is_not_signed(marker: Marker, image_format: ImageFormat) -> None:
    with pytest.raises(NotSigned):
        marker.sign(picture(image_format)[:20], image_format, CLAIM)


# -- the credential -------------------------------------------------------------------------------


def test_a_made_credential_stays_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    first = load_or_make(tmp_path, SystemClock())
    again = load_or_make(tmp_path, SystemClock())

    assert first == again
    assert (tmp_path / signer.CREDENTIAL_FILE).stat().st_mode & 0o777 == 0o600
    assert first.key.decode() not in repr(first)
    assert {path.name for path in tmp_path.iterdir()} == {"provenance.pem", ".provenance.lock"}


def test_it_is_renewed_every_year_by_the_same_authority(tmp_path: Path) -> None:
    clock = FrozenClock()
    first = load_or_make(tmp_path, clock)
    clock.advance(YEAR - 86400)
    assert load_or_make(tmp_path, clock) == first

    clock.advance(86400)
    second = load_or_make(tmp_path, clock)

    assert second.key != first.key
    assert second.anchor == first.anchor
    assert second.ends_at - first.ends_at >= dt.timedelta(days=364)


def test_an_authority_that_would_end_before_its_certificate_is_replaced(tmp_path: Path) -> None:
    clock = FrozenClock()
    first = load_or_make(tmp_path, clock)
    clock.advance(21 * YEAR)

    assert load_or_make(tmp_path, clock).anchor != first.anchor


def test_processes_that_start_together_share_one_credential(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from ketchup.clock import SystemClock\n"
        "from ketchup.provenance.signer import load_or_make\n"
        "print(flush=True); sys.stdin.readline(); made = load_or_make(Path(sys.argv[1]), SystemClock())\n"
        "print(made.chain.hex(), made.key.hex())\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = {process.communicate(timeout=60)[0] for process in started}

    assert [process.returncode for process in started] == [0] * 4
    assert len(answers) == 1


@pytest.mark.parametrize("harm", ["open", "cut", "text"])
def test_a_credential_that_was_harmed_is_refused_and_kept(tmp_path: Path, harm: str) -> None:
    load_or_make(tmp_path, SystemClock())
    path = tmp_path / signer.CREDENTIAL_FILE
    if harm == "open":
        path.chmod(0o644)
    else:
        path.write_bytes(path.read_bytes()[:-300] if harm == "cut" else b"nothing")
    before = path.read_bytes()

    with pytest.raises(CredentialUnusable, match=r"provenance\.pem"):
        load_or_make(tmp_path, SystemClock())

    assert path.read_bytes() == before


def test_the_operators_own_certificate_signs(tmp_path: Path) -> None:
    chain, key = _operators(tmp_path)

    credential = load(chain, key, SystemClock())

    report = verify(
        Marker(credential).sign(picture(ImageFormat.PNG), ImageFormat.PNG, CLAIM),
        [credential.anchor],
    )
    assert (report.state, report.signer) == (State.TRUSTED, "Acme")


def test_an_operators_certificate_that_no_reader_takes_is_refused_with_the_reason(
    tmp_path: Path,
) -> None:
    chain, key = _operators(tmp_path)
    (tmp_path / "other").mkdir()
    _, other = _operators(tmp_path / "other")

    with pytest.raises(CredentialUnusable, match="the key is not that of"):
        load(chain, other, SystemClock())
    with pytest.raises(CredentialUnusable, match="cannot be read: No such file"):
        load(tmp_path / "none.pem", key, SystemClock())
    with pytest.raises(CredentialUnusable, match="the certificate ended at"):
        load(chain, key, FrozenClock(after(SystemClock().now(), 11 * YEAR)))
    key.chmod(0o640)
    with pytest.raises(CredentialUnusable, match="can be read by others"):
        load(chain, key, SystemClock())


def _operators(folder: Path) -> tuple[Path, Path]:
    made = load_or_make(folder, SystemClock(), "Acme")
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(made.chain)
    key.write_bytes(made.key)
    key.chmod(0o600)
    return chain, key
