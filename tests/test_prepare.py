"Data sets: downloads that fail in every way, checks that find each fault, stores that survive kill -9, full disks and damage"
import errno, hashlib, json, multiprocessing, os, random, shutil, signal, subprocess, sys, tarfile, time, types, zipfile
from pathlib import Path
import numpy as np
import pytest
from typer.testing import CliRunner
from loco.data import check as checking, download, locate as locating, pack as packing, problems
from loco.program.data import data_app
from loco.core.clock import Clock
from loco.data.annotations import Annotations
from loco.data.features import FeatureStore, open_dataset, write_store
from loco.core.config import Config
from loco.data.check import check
from loco.data.locate import locate
from loco.core.origin import Origin, differences, fingerprint, read_origin, write_origin
from loco.data.pack import pack
from loco.core.errors import BadInput, Missing
from loco.training.objective import open_data
from loco.data.invent import annotations_dict, random_annotations, simulated_dataset, write_npy_layout, write_simulated

ROOT = Path(__file__).resolve().parents[1]
CLOCK = Clock(16, 16, 4)
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# ---------------------------------------------------------------- small data sets

@pytest.fixture(scope="module")
def world():
    "Annotations and simulated features of twelve short videos"
    return simulated_dataset(videos=12, classes=3, visual_dim=24, audio_dim=16, seed=2)

@pytest.fixture
def folders(world, tmp_path):
    "The same as two folders and an annotation file"
    annotations, features = world
    for m in ("visual", "audio"): (tmp_path/"set"/m).mkdir(parents=True)
    for v in annotations.duration:
        for m, x in zip(("visual", "audio"), features[v]): np.save(tmp_path/"set"/m/f"{v}.npy", x)
    (tmp_path/"set"/"annotations.json").write_text(json.dumps(annotations_dict(annotations)))
    return tmp_path/"set"

def found(folders): return locate(folders, clock=CLOCK)
def content(folder): return {p.name: p.read_bytes() for p in sorted(Path(folder).iterdir())}

# ---------------------------------------------------------------- simulate

def _sums(video):
    a, f = simulated_dataset(videos=12, classes=3, visual_dim=24, audio_dim=16, seed=2)
    return video, [hashlib.sha256(x.tobytes()).hexdigest() for x in f[video]]

def test_simulated_features_do_not_depend_on_process_or_order(world):
    videos = list(world[0].duration)
    here = {v: _sums(v)[1] for v in reversed(videos)}
    with multiprocessing.get_context("spawn").Pool(2) as pool: there = dict(pool.map(_sums, videos))
    assert here == there
    assert len({s for x in here.values() for s in x}) == 2*len(videos)

def test_random_annotations_of_any_size():
    for n, c in ((3, 1), (10, 2), (101, 130)):
        a = random_annotations(n, classes=c, seed=1)
        assert len(a) == n and len(a.labels) == c and set(a.subset.values()) == {"train", "validation", "test"}

def test_simulated_data_set_says_so_everywhere(world, tmp_path):
    annotations, features = world
    assert "simulated" in repr(features) and features.manifest["encoder"] == "simulated"
    out = write_simulated(tmp_path/"a", annotations, features)
    assert json.loads((out/"annotations.json").read_text())["version"] == "simulated"
    assert FeatureStore(out/"features").manifest["audio"]["simulated"]["seed"] == 2
    wide = simulated_dataset(videos=3, classes=2)
    packed = pack(locate(write_simulated(tmp_path/"b", *wide, layout="onepeace")), tmp_path/"store")
    assert FeatureStore(packed.store).manifest["visual"]["encoder"] == "simulated"

@pytest.mark.parametrize("layout", ["store", "onepeace"])
def test_simulate_leaves_real_data_alone(world, folders, tmp_path, layout):
    wide = simulated_dataset(videos=3, classes=2)
    store = folders/"features"
    pack(found(folders), store)
    whole = {p: p.read_bytes() for p in folders.rglob("*") if p.is_file()}
    for name in ("annotations.json", "features", "visual"):             # each of its parts is enough
        with pytest.raises(FileExistsError, match=f"{name}.* was not simulated"): write_simulated(folders, *wide, layout=layout)
        assert whole == {p: p.read_bytes() for p in folders.rglob("*") if p.is_file()}
        shutil.move(folders/name, tmp_path/name)
        if name == "visual": shutil.move(folders/"audio", tmp_path/"audio")
        whole = {p: p.read_bytes() for p in folders.rglob("*") if p.is_file()}
    for _ in range(2): assert check(write_simulated(folders, *wide, layout=layout)).errors == 0

@pytest.mark.parametrize("layout", ["store", "onepeace", "i3d-vggish"])
def test_the_line_that_simulate_prints_opens_its_data(layout, tmp_path):
    "A printed next line that does not work: widths, classes and clock are those of what was written"
    from loco.program.options import _settings
    widths = ["--visual-dim", "16", "--audio-dim", "24"] if layout == "store" else []
    done = CliRunner().invoke(data_app, ["simulate", "--out", str(tmp_path/"set"), "--videos", "12", "--classes", "5", "--layout", layout, "--quiet", *widths])
    words = next(l for l in done.output.splitlines() if l.startswith("Next: loco train ")).split()[3:]
    assert words[0] == "--preset"
    annotations, features = open_data(_settings(words[1], None, None, words[2:]))
    assert len(annotations) == len(features) == 12

def test_training_takes_widths_classes_and_clock_from_a_store(world, tmp_path):
    "`--data FOLDER` alone is enough, and what is said explicitly wins and is held against the data in one message"
    from loco.program.options import _settings
    write_simulated(tmp_path/"set", *world)
    cfg = _settings("stampsav", None, tmp_path/"set", [])
    assert (cfg.model.visual_dim, cfg.model.audio_dim, cfg.model.classes) == (24, 16, len(open_data(cfg)[0].labels))
    wrong = _settings("stampsav", None, tmp_path/"set", ["--model.visual_dim", "5", "--model.classes", "9"])
    with pytest.raises(BadInput, match="give --model.visual_dim 24 --model.classes 3$"): open_data(wrong)

def test_simulate_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    wide = simulated_dataset(videos=3, classes=2)
    class Stop(BaseException): pass
    def stop(*args): raise Stop
    monkeypatch.setattr(type(wide[1]), "_modality", stop)
    with pytest.raises(Stop): write_simulated(tmp_path/"a", *wide, layout="onepeace")
    monkeypatch.undo()
    assert check(write_simulated(tmp_path/"a", *wide, layout="onepeace")).errors == 0

# ---------------------------------------------------------------- download

class Api:
    "Serves a folder like `huggingface_hub.HfApi`; `trouble` maps a path to faults, one for each attempt"
    def __init__(self, root, **trouble): self.root, self.trouble, self.asked = Path(root), trouble, []
    def list_repo_tree(self, repo, *, recursive, revision, repo_type):
        assert (repo, repo_type) == (download.repository, "dataset")
        yield types.SimpleNamespace(path="features")
        for p in sorted(self.root.rglob("*")):
            if not p.is_file(): continue
            data = p.read_bytes()
            lfs = types.SimpleNamespace(sha256=hashlib.sha256(data).hexdigest()) if p.suffix != ".json" else None
            yield types.SimpleNamespace(path=p.relative_to(self.root).as_posix(), size=len(data), lfs=lfs, blob_id=hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest())
    def hf_hub_download(self, repo, path, *, repo_type, revision, local_dir):
        target, half = Path(local_dir)/path, Path(local_dir)/f"{path}.incomplete"
        if target.is_file(): return str(target)
        self.asked.append(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        data, fault = (self.root/path).read_bytes(), (self.trouble.get(Path(path).name) or [None]).pop(0)
        if fault == "break": half.write_bytes(data[:100]); raise ConnectionResetError("connection reset by peer")
        if fault == "full": raise OSError(errno.ENOSPC, "No space left on device")
        if half.is_file(): assert data.startswith(half.read_bytes()); half.unlink()
        target.write_bytes({None: data, "cut": data[:-5], "flip": data[:50] + bytes([data[50] ^ 4]) + data[51:]}[fault])
        return str(target)

@pytest.fixture
def repo(tmp_path):
    "A repository with one layout as loose files and the other in archives"
    annotations, features = simulated_dataset(videos=5, classes=2)
    root = tmp_path/"repo"
    write_npy_layout(root/"op", ((v, *(x[:6] for x in features[v])) for v in annotations.duration), layout="onepeace")
    wide = simulated_dataset(annotations, visual_dim=2048, audio_dim=128)[1]
    write_npy_layout(tmp_path/"i3d", ((v, *(x[:6] for x in wide[v])) for v in annotations.duration), layout="i3d-vggish")
    with zipfile.ZipFile(root/"UnAV100_I3D.zip", "w") as z:
        for p in (tmp_path/"i3d").glob("*_rgb.npy"): z.write(p, f"a/b/{p.name}")
        for p in (tmp_path/"i3d").glob("*_flow.npy"): z.write(p, f"../../{p.name}")
        z.writestr("../../evil.sh", "rm -rf /")
    with tarfile.open(root/"vggish_features.tar.gz", "w:gz") as t:
        for p in (tmp_path/"i3d").glob("*_vggish.npy"): t.add(p, p.name)
        link = tarfile.TarInfo("x_vggish.npy"); link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"; t.addfile(link)
    (root/"unav100_annotations.json").write_text(json.dumps(annotations_dict(annotations)))
    return root

def one(repo): return sorted((repo/"op").glob("*_audio.npy"))[2].name

def test_download_both_layouts(repo, tmp_path):
    for name, files in (("onepeace", 10), ("i3d-vggish", 15)):
        got = download.download(tmp_path/name, features=name, api=Api(repo))
        assert got.videos == 5 and len(list(got.features.iterdir())) == files
        assert {p.name for p in (tmp_path/name).iterdir()} == {".download", name, download.annotation_name}
        assert check(tmp_path/name, layout=name).annotations.labels
    assert not (tmp_path/"evil.sh").exists() and not any(p.is_symlink() for p in (tmp_path/"i3d-vggish").rglob("*"))

def test_download_resumes_and_fetches_nothing_twice(repo, tmp_path):
    api = Api(repo, **{one(repo): ["break"], "vggish_features.tar.gz": ["break"]})
    for name in ("onepeace", "i3d-vggish"):
        with pytest.raises(ConnectionError, match="same command continues"): download.download(tmp_path/"out", features=name, api=api, workers=1)
        assert download.download(tmp_path/"out", features=name, api=api).videos == 5
        assert download.download(tmp_path/"out", features=name, api=api).files == 0
    count = {p: api.asked.count(p) for p in api.asked}
    assert {p for p, n in count.items() if n > 1} == {f"op/{one(repo)}", "vggish_features.tar.gz"} and max(count.values()) == 2

def test_download_interrupted_anywhere_ends_the_same(repo, tmp_path, monkeypatch):
    whole = content(download.download(tmp_path/"whole", features="i3d-vggish", api=Api(repo)).features)
    class Stop(BaseException): pass
    for n in range(1, 60):
        calls, own = [0], os.replace
        def replace(a, b):
            calls[0] += 1
            if calls[0] == n: raise Stop
            own(a, b)
        monkeypatch.setattr(os, "replace", replace)
        try: download.download(tmp_path/"cut", features="i3d-vggish", api=Api(repo), workers=1)
        except Stop: stopped = True
        else: stopped = False
        monkeypatch.setattr(os, "replace", own)
        assert content(download.download(tmp_path/"cut", features="i3d-vggish", api=Api(repo)).features) == whole
        if not stopped: break
        shutil.rmtree(tmp_path/"cut")
    assert n > 10

@pytest.mark.parametrize("fault,words", [("cut", "bytes, the hub lists"), ("flip", "another checksum")])
def test_download_wrong_content(repo, tmp_path, fault, words):
    api = Api(repo, **{one(repo): [fault]})
    assert download.download(tmp_path/"a", api=api).videos == 5          # noticed, removed, fetched again
    assert api.asked.count(f"op/{one(repo)}") == 2
    with pytest.raises(ValueError, match=words) as e: download.download(tmp_path/"b", api=Api(repo, **{one(repo): [fault]*9}))
    assert one(repo) in str(e.value) and "removed" in str(e.value)
    assert not list((tmp_path/"b").rglob(one(repo)))

def test_download_names_what_is_missing(repo, tmp_path):
    lost = one(repo).removesuffix("_one_peace_audio.npy")
    (repo/"op"/one(repo)).unlink()
    with pytest.raises(FileNotFoundError) as e: download.download(tmp_path/"a", api=Api(repo))
    for words in (lost, "1 of 5 videos", "_one_peace_audio.npy", str(tmp_path/"a"/"onepeace"), "loco data check"): assert words in str(e.value)
    (repo/"unav100_annotations.json").unlink()
    with pytest.raises(FileNotFoundError, match="lists no annotation file"): download.download(tmp_path/"b", api=Api(repo))
    for p in (repo/"op").iterdir(): p.unlink()
    shutil.copy(tmp_path/"a"/download.annotation_name, repo)
    with pytest.raises(FileNotFoundError, match="5 of 5 videos"): download.download(tmp_path/"c", api=Api(repo))

def test_download_offline_says_what_goes_where(tmp_path):
    class Offline:
        def list_repo_tree(self, *args, **kw): raise OSError("Name or service not known")
    with pytest.raises(ConnectionError) as e: download.download(tmp_path/"a", features="i3d-vggish", api=Offline())
    for words in ("Fetch by hand", download.annotation_name, "VIDEO_vggish.npy", str(tmp_path/"a"/"i3d-vggish"), "--from FOLDER", "huggingface.co/datasets/ttgeng233"): assert words in str(e.value)
    assert not (tmp_path/"a").exists()

def test_download_by_hand_and_damaged_archive(repo, tmp_path):
    got = download.download(tmp_path/"a", features="i3d-vggish", source=repo)
    assert got.videos == 5 and (repo/"UnAV100_I3D.zip").is_file()
    for name in ("UnAV100_I3D.zip", "vggish_features.tar.gz"):
        data = (repo/name).read_bytes()
        (repo/name).write_bytes(data[:-30])
        with pytest.raises(ValueError, match="damaged") as e: download.download(tmp_path/name, features="i3d-vggish", source=repo)
        assert name in str(e.value) and not list((tmp_path/name).rglob("*.tmp"))
        (repo/name).write_bytes(data)

def test_download_full_disk(repo, tmp_path, monkeypatch):
    with pytest.raises(OSError) as e: download.download(tmp_path/"a", api=Api(repo, **{one(repo): ["full"]}))
    assert e.value.errno == errno.ENOSPC
    monkeypatch.setattr(shutil, "disk_usage", lambda p: types.SimpleNamespace(free=1000))
    with pytest.raises(OSError, match="are needed and") as e: download.download(tmp_path/"b", api=Api(repo))
    assert e.value.errno == errno.ENOSPC and not (tmp_path/"b").exists()

def test_download_refuses_a_broken_annotation_file(repo, tmp_path):
    (repo/"unav100_annotations.json").write_text('{"database": {' + " "*100)
    with pytest.raises(ValueError, match="JSON"): download.download(tmp_path/"a", api=Api(repo))
    assert not (tmp_path/"a"/download.annotation_name).exists()

# ---------------------------------------------------------------- check

def spoil(kind, folders, annotations):
    "Break one thing; returns the video it belongs to"
    v, w = list(annotations.duration)[:2]
    path = folders/"audio"/f"{v}.npy"
    x = np.load(path)
    d = json.loads((folders/"annotations.json").read_text())
    if kind == "missing": path.unlink()
    if kind == "unreadable": path.write_bytes(path.read_bytes()[:-100])
    if kind == "shape": np.save(path, x[None, None])
    if kind == "dtype": np.save(path, x.astype(np.int32))
    if kind == "width": np.save(path, x[:, :-1])
    if kind == "not finite": x[3, 1] = np.inf; np.save(path, x)
    if kind == "constant": np.save(path, x*0)
    if kind == "apart": np.save(path, x[:-3])
    if kind == "duplicate": shutil.copy(folders/"audio"/f"{w}.npy", path)
    if kind == "orphan": np.save(folders/"audio"/"stranger.npy", x)
    if kind == "length":
        for m in ("visual", "audio"): y = np.load(folders/m/f"{v}.npy"); np.save(folders/m/f"{v}.npy", np.concatenate([y, y[:9]]))
    if kind == "uncovered":
        for m in ("visual", "audio"): y = np.load(folders/m/f"{v}.npy"); np.save(folders/m/f"{v}.npy", y[:2])
        d["database"][v]["annotations"] = [dict(segment=[5, 8], label="class 0", label_id=0)]
    if kind == "annotation": d["database"][v]["annotations"][0]["segment"] = [3, 2]
    if kind == "split": d["database"] = {k: dict(e, subset="holdout" if e["subset"] == "validation" else e["subset"]) for k, e in d["database"].items()}
    if kind == "no events": d["database"] = {k: dict(e, annotations=[] if e["subset"] == "validation" else e["annotations"]) for k, e in d["database"].items()}
    if kind == "class": d["database"][[k for k in d["database"] if d["database"][k]["subset"] == "test"][0]]["annotations"] = [dict(segment=[0, 5], label="new", label_id=9)]
    if kind == "no test": d["database"] = {k: dict(e, subset="train" if e["subset"] == "test" else e["subset"]) for k, e in d["database"].items()}
    if kind == "label": d["database"][v]["annotations"][0].update(label=d["database"][v]["annotations"][0]["label"] + " ", label_id=9)
    if kind == "tolerated": d["database"][v]["annotations"].append(dict(segment=[5, 5], label="class 0", label_id=0))
    if kind == "trimmed":
        for m, cut in (("visual", 400), ("audio", 396)): np.save(folders/m/f"{v}.npy", np.random.default_rng(0).normal(size=(cut, np.load(folders/m/f"{v}.npy").shape[1])))
        d["database"][v].update(duration=CLOCK.seconds(399) + .5)
    if kind == "too short": d["database"][v]["annotations"].append(dict(segment=[2.01, 2.02], label="class 0", label_id=0))
    (folders/"annotations.json").write_text(json.dumps(d))
    return v

@pytest.mark.parametrize("kind", [k for k in problems.kinds if k not in ("clock", "unknown clock", "checksum", "no checksums")])
def test_check_finds(kind, folders, world):
    assert not any(p.kind == kind for p in check(folders, clock=CLOCK).problems) or kind in ("class", "too short")
    spoil(kind, folders, world[0])
    report = check(folders, clock=CLOCK)
    mine = [p for p in report.problems if p.kind == kind]
    assert mine and mine[0].level == problems.kinds[kind][0]
    assert report.ok == (problems.kinds[kind][0] == "warning") or kind == "duplicate"      # whose length is wrong, too
    result = CliRunner().invoke(data_app, ["check", str(folders), "--fps", "16", "--window", "16", "--stride", "4", "--workers", "1", "--quiet"])
    assert result.exit_code == (0 if report.ok else 1) and kind in result.output

MALFORMED = dict(no_object=lambda e: [1, 2], nothing=lambda e: None, no_list=lambda e: dict(e, annotations=None), no_duration=lambda e: dict(e, duration=None),
                 text_duration=lambda e: dict(e, duration="abc"), no_subset=lambda e: dict(e, subset=None), event_list=lambda e: dict(e, annotations=[[1, 2, "dog"]]),
                 number_label=lambda e: dict(e, annotations=[dict(segment=[1, 2], label=3)]), list_label=lambda e: dict(e, annotations=[dict(segment=[1, 2], label=["dog"])]))

@pytest.mark.parametrize("harm", MALFORMED)
def test_malformed_entries_are_named(harm, folders, world):
    path, v = folders/"annotations.json", list(world[0].duration)[1]
    d = json.loads(path.read_text())
    d["database"][v] = MALFORMED[harm](d["database"][v])
    path.write_text(json.dumps(d))
    for labels in (None, world[0].labels):
        with pytest.raises(ValueError, match="annotations.json: video '" + v): Annotations.load(path, labels=labels)
    report = check(folders, clock=CLOCK)
    assert [p.where for p in report.problems if p.level == "error"] == [v] and len(report.annotations) == 11

def test_check_of_an_empty_or_numbered_file_is_not_ready(folders):
    path = folders/"annotations.json"
    d = json.loads(path.read_text())
    for e in d["database"].values(): e["annotations"] = [dict(a, label=a["label_id"]) for a in e["annotations"]]
    for content in ({"database": {}}, {"database": []}, [], None, d):
        path.write_text(json.dumps(content))
        report = check(folders, clock=CLOCK)
        assert not report.ok and all(p.kind == "annotation" for p in report.problems)

def test_info_of_a_folder_without_a_data_set(tmp_path):
    "A table that says nothing, and status 0"
    done = CliRunner().invoke(data_app, ["info", str(tmp_path)])
    assert isinstance(done.exception, Missing) and "no data set in" in str(done.exception)

def test_check_says_what_it_cannot_write(folders, tmp_path):
    path, files = folders/"annotations.json", [tmp_path/"clean.json", tmp_path/"table.csv"]
    path.write_text(path.read_text()[:300])
    done = CliRunner().invoke(data_app, ["check", str(folders), "--clean", str(files[0]), "--table", str(files[1]), "--quiet"])
    assert done.exit_code == 1 and "is the annotation file without" not in done.output
    assert all(str(f) in done.stderr and not f.exists() for f in files) and "not written" in done.stderr and "annotations.json" in done.stderr

def test_check_finds_a_wrong_clock(folders):
    assert {p.kind for p in check(folders, clock=Clock(25, 24, 8)).problems if p.level == "error"} == {"clock"}
    unknown = check(folders)
    assert unknown.ok and any(p.kind == "unknown clock" and "ONE-PEACE" in p.what for p in unknown.problems)

def test_check_says_that_an_old_store_has_no_checksums(folders, tmp_path):
    store = pack(found(folders), tmp_path/"store").store
    manifest = json.loads((store/"manifest.json").read_text())
    (store/"manifest.json").write_text(json.dumps({k: v for k, v in manifest.items() if k != "crc32"}))
    report = check(store, annotations=folders/"annotations.json")
    assert report.ok and "no checksums" in {p.kind for p in report.problems}

def test_check_finds_damage_in_a_store(folders, tmp_path):
    store = pack(found(folders), tmp_path/"store").store
    assert check(store, annotations=folders/"annotations.json").ok
    with open(store/"audio.npy", "r+b") as f: f.seek(-40, 2); f.write(b"damage")
    report = check(store, annotations=folders/"annotations.json")
    assert [p.kind for p in report.problems if p.level == "error"] == ["checksum"]
    whole = tmp_path/"whole.npy"
    whole.write_bytes((pack(found(folders), tmp_path/"again").store/"audio.npy").read_bytes())
    os.replace(whole, store/"audio.npy")                                 # one file is restored
    assert check(store, annotations=folders/"annotations.json").ok
    with open(store/"visual.npy", "r+b") as f: f.seek(-40, 2); f.write(b"damage")
    assert not check(store, annotations=folders/"annotations.json").ok
    shutil.rmtree(store)
    pack(found(folders), store)                                          # or all of them are packed again
    assert check(store, annotations=folders/"annotations.json").ok

def test_clean_annotations_pass(folders, world, tmp_path):
    for kind in ("not finite",): spoil(kind, folders, world[0])
    report = check(folders, clock=CLOCK)
    assert checking.write_clean(report, tmp_path/"clean.json") == 1
    assert check(folders, annotations=tmp_path/"clean.json", clock=CLOCK).ok

def test_check_accepts_float64(folders, world):
    path = folders/"visual"/f"{list(world[0].duration)[0]}.npy"
    np.save(path, np.load(path).astype(np.float64))
    report = check(folders, clock=CLOCK)
    assert report.ok and "float64 (1)" in str(report.sheets())
    assert pack(found(folders), folders/"store").videos == 12

# ---------------------------------------------------------------- pack

def test_pack_equals_write_store(folders, world, tmp_path):
    source = found(folders)
    for dtype in ("float16", "float32"):
        store, ref = pack(source, tmp_path/dtype, dtype=dtype).store, tmp_path/f"ref{dtype}"
        write_store(ref, ((v, *source.features[v]) for v in world[0].duration), clock=CLOCK, dtype=dtype)
        for n in ("visual.npy", "audio.npy"): assert (store/n).read_bytes() == (ref/n).read_bytes()
        have, want = (json.loads((p/"manifest.json").read_text()) for p in (store, ref))
        assert all(have[k] == want[k] for k in ("format", "clock", "videos")) and have["visual"]["dim"] == want["visual"]["dim"]

@pytest.mark.parametrize("where", ["beside the files", "in the data set"])
def test_a_store_says_what_made_its_features(where, folders, tmp_path):
    silent = pack(found(folders), tmp_path/"store").store
    assert read_origin(silent) is None
    arrays = dict(visual_mean=np.zeros(3), visual_basis=np.eye(3), audio_mean=np.zeros(2), audio_basis=np.eye(2))
    origin = Origin(dict(name="mine", projection=fingerprint(arrays)), arrays)
    write_origin(folders/"visual" if where == "beside the files" else folders, origin)
    for _ in range(2):                                                   # the second time it is there already
        told = read_origin(pack(found(folders), tmp_path/"store").store)
        assert not differences(origin.encoder, told.encoder) and (told.projection["audio_basis"] == np.eye(2)).all()

def test_a_damaged_origin_is_refused_before_anything_is_packed(folders, tmp_path):
    (folders/"encoder.json").write_text("{")
    with pytest.raises(ValueError, match="encoder.json"): pack(found(folders), tmp_path/"store")
    assert not list(tmp_path.glob("store*"))

def test_pack_published_layouts_in_two_processes(tmp_path):
    for layout, dims, clock in (("onepeace", (1536, 1536), CLOCK), ("i3d-vggish", (2048, 128), Clock(25, 24, 8))):
        annotations, features = simulated_dataset(videos=9, classes=2, visual_dim=dims[0], audio_dim=dims[1], clock=clock)
        root = write_simulated(tmp_path/layout, annotations, features, layout=layout)
        stores = [content(pack(locate(root), tmp_path/f"{layout}{w}", workers=w).store) for w in (1, 2)]
        assert stores[0] == stores[1]
        options = checking.settings(locate(root), store=tmp_path/f"{layout}1")
        cfg = Config.preset(f"unav100-{layout}").override(options)
        source = open_dataset(cfg.data, visual_dim=cfg.model.visual_dim, audio_dim=cfg.model.audio_dim, classes=cfg.model.classes)[1]
        v = list(annotations.duration)[3]
        assert all(np.abs(x - y).max() < 4e-3 for x, y in zip(source[v], features[v]))

OPERATIONS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}

def _die_at(n, where):
    "Kill this process, as by `kill -9`, at the n-th operation on files below a folder"
    left = [n]
    def hook(event, args):
        if event in OPERATIONS and str(where) in str(args[0]):
            left[0] -= 1
            if left[0] == 0: os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def _child(f, *args):
    "Exit status of a function in a forked process; negative when it was killed"
    pid = os.fork()
    if pid == 0:
        try: f(*args)
        except BaseException: os._exit(3)
        os._exit(0)
    return pid

def _wait(pid): return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

@forks
def test_kill_at_every_file_operation(folders, tmp_path):
    few = json.loads((folders/"annotations.json").read_text())
    few["database"] = dict(list(few["database"].items())[-6:])
    (folders/"annotations.json").write_text(json.dumps(few))
    source = found(folders)
    whole, killed = content(pack(source, tmp_path/"whole").store), 0
    for n in range(1, 400):
        out = tmp_path/f"out{n}"
        def run():
            _die_at(n, out)
            pack(source, out)
        status = _wait(_child(run))
        assert status in (0, -signal.SIGKILL)
        if out.exists(): assert content(out) == whole                    # complete or not there
        pack(source, out)
        assert content(out) == whole and not out.with_name(out.name + ".partial").exists()
        if status == 0: break
        killed += 1
        shutil.rmtree(out)
    assert killed >= 40

@forks
def test_kill_at_random_moments_again_and_again(tmp_path):
    annotations, features = simulated_dataset(videos=40, classes=2, visual_dim=768, audio_dim=768, seed=1)
    for m in ("visual", "audio"): (tmp_path/"set"/m).mkdir(parents=True)
    for v in annotations.duration:
        for m, x in zip(("visual", "audio"), features[v]): np.save(tmp_path/"set"/m/f"{v}.npy", x)
    (tmp_path/"set"/"annotations.json").write_text(json.dumps(annotations_dict(annotations)))
    source, rng = found(tmp_path/"set"), random.Random(0)
    start = time.perf_counter()
    whole = content(pack(source, tmp_path/"whole").store)
    takes, kills = time.perf_counter() - start, 0
    for _ in range(200):
        pid = _child(pack, source, tmp_path/"out")
        time.sleep(rng.random()*takes*.6)
        os.kill(pid, signal.SIGKILL)
        kills += (status := _wait(pid)) == -signal.SIGKILL
        assert status in (0, -signal.SIGKILL)
        if (tmp_path/"out").exists():
            assert content(tmp_path/"out") == whole
            shutil.rmtree(tmp_path/"out")
            if kills >= 8: break
    assert kills >= 8

@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_do_not_outlive_a_killed_parent(folders, tmp_path):
    code = ("import sys, time; from loco.data import locate as locating; from loco.core.clock import Clock\n"
            "if __name__ == '__main__': list(locating.parallel(time.sleep, [.2]*400, workers=2))")
    (tmp_path/"run.py").write_text(code)
    p = subprocess.Popen([sys.executable, str(tmp_path/"run.py")], env={**os.environ, "PYTHONPATH": str(ROOT)})
    children, until = [], time.monotonic() + 30
    while len(children) < 3 and time.monotonic() < until:                # two workers and the resource tracker
        time.sleep(.1)
        children = Path(f"/proc/{p.pid}/task/{p.pid}/children").read_text().split()
    time.sleep(.5)
    p.kill(); p.wait()
    alive = lambda c: Path(f"/proc/{c}/stat").exists() and Path(f"/proc/{c}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    until = time.monotonic() + 20
    while any(map(alive, children)) and time.monotonic() < until: time.sleep(.1)
    assert children and not any(map(alive, children))

def test_full_disk_at_any_write_leaves_nothing(folders, tmp_path, monkeypatch):
    own = packing._write_at
    for n in range(0, 36, 5):
        left = [n]
        def write(path, data, offset):
            left[0] -= 1
            if left[0] < 0:
                own(path, bytes(data)[:7], offset)                       # a piece of it still fits
                raise OSError(errno.ENOSPC, "No space left on device")
            own(path, data, offset)
        monkeypatch.setattr(packing, "_write_at", write)
        with pytest.raises(OSError, match="the disk is full") as e: pack(found(folders), tmp_path/"out")
        assert e.value.errno == errno.ENOSPC and "out.partial" in str(e.value)
        assert not list(tmp_path.glob("out*"))
    monkeypatch.undo()
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda p: types.SimpleNamespace(free=100))
    with pytest.raises(OSError, match="the disk is full"): pack(found(folders), tmp_path/"out")
    assert not list(tmp_path.glob("out*"))

def test_full_disk_keeps_an_older_store(folders, tmp_path, monkeypatch):
    older = content(pack(found(folders), tmp_path/"out").store)
    def full(*args): raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(packing, "_reserve", full)
    with pytest.raises(OSError, match="the disk is full"): pack(found(folders), tmp_path/"out", dtype="float32")
    assert content(tmp_path/"out") == older

def test_bad_write_is_noticed(folders, tmp_path, monkeypatch):
    own, bad = packing._write_at, [1]
    def write(path, data, offset):
        if path.name == "audio.npy" and bad[0] > 0: bad[0] -= 1; return own(path, bytes(len(bytes(data))), offset)
        own(path, data, offset)
    monkeypatch.setattr(packing, "_write_at", write)
    once = content(pack(found(folders), tmp_path/"a").store)             # the disk fails once: packed again
    monkeypatch.undo()
    assert once == content(pack(found(folders), tmp_path/"b").store)
    bad[0] = 10**9
    monkeypatch.setattr(packing, "_write_at", write)
    with pytest.raises(OSError, match="cannot be trusted"): pack(found(folders), tmp_path/"c")
    assert not (tmp_path/"c").exists()

def test_only_one_at_a_time(folders, tmp_path):
    pytest.importorskip("fcntl")
    with packing._locked(tmp_path/"out.partial"), pytest.raises(RuntimeError, match="another program"): pack(found(folders), tmp_path/"out")
    assert pack(found(folders), tmp_path/"out").videos == 12

def test_repaired_file_is_packed_again(folders, world, tmp_path):
    videos = list(world[0].duration)
    path = folders/"visual"/f"{videos[7]}.npy"
    good = np.load(path)
    np.save(path, np.where(np.arange(24) == 2, np.nan, good).astype(np.float32))
    with pytest.raises(ValueError, match="dimension 2") as e: pack(found(folders), tmp_path/"out")
    assert path.name in str(e.value) and "goes on from there" in str(e.value) and not (tmp_path/"out").exists()
    np.save(path, good)
    np.save(folders/"audio"/f"{videos[2]}.npy", np.load(folders/"audio"/f"{videos[2]}.npy") + 1)     # already packed, changed since
    assert pack(found(folders), tmp_path/"out").earlier == 6
    assert content(tmp_path/"out") == content(pack(found(folders), tmp_path/"again").store)

def test_pack_leaves_other_folders_alone(folders, tmp_path):
    (tmp_path/"thesis").mkdir(); (tmp_path/"thesis"/"chapter1.tex").write_text("...")
    with pytest.raises(FileExistsError, match="not ours to replace"): pack(found(folders), tmp_path/"thesis")
    assert (tmp_path/"thesis"/"chapter1.tex").is_file()

def test_pack_names_a_truncated_source(folders, world, tmp_path):
    path = folders/"visual"/f"{list(world[0].duration)[4]}.npy"
    path.write_bytes(path.read_bytes()[:-64])
    with pytest.raises(ValueError, match="cannot be packed") as e: pack(found(folders), tmp_path/"out")
    assert path.name in str(e.value) and not list(tmp_path.glob("out*"))

# ---------------------------------------------------------------- damaged stores

def test_store_cut_short_or_with_a_wrong_index(folders, tmp_path):
    store = pack(found(folders), tmp_path/"store").store
    manifest = json.loads((store/"manifest.json").read_text())
    v = list(manifest["videos"])[-1]
    (store/"manifest.json").write_text(json.dumps(dict(manifest, videos={k: x for k, x in manifest["videos"].items() if k != v})))
    with pytest.raises(ValueError, match="the index in manifest.json"): FeatureStore(store)
    (store/"manifest.json").write_text(json.dumps(manifest)[:-20])
    with pytest.raises(ValueError, match="manifest.json"): FeatureStore(store)
    (store/"manifest.json").write_text(json.dumps(manifest))
    with open(store/"visual.npy", "r+b") as f: f.truncate(1000)
    with pytest.raises(ValueError, match="visual.npy"): FeatureStore(store)
    with pytest.raises(ValueError, match="visual.npy"): check(store, annotations=folders/"annotations.json")

# ---------------------------------------------------------------- ranges and clock

def test_suggested_ranges_follow_the_events():
    events = np.cumsum(np.abs(np.random.default_rng(0).normal(20, 6, (2000, 2))), 1)
    for scale in (.05, .3, 1, 4, 20):
        levels, reach, shares = problems.suggest_ranges(events*scale)
        assert shares.min() >= .05 and len(shares) == levels
        Config.preset("unav100-onepeace").override({"model.levels": levels, "model.reach": reach})

def test_clock_of_equal_durations_is_still_roughly_right():
    step, window = problems.estimate_clock(np.full(50, 10.), np.full(50, Clock(25, 24, 8).steps(10.)))
    assert abs(step - .32) < .05 and window != window

# ---------------------------------------------------------------- command line

def test_json_is_json_and_nothing_else(folders):
    for command in (["check", str(folders), "--json"], ["info", str(folders), "--json"]):
        done = CliRunner().invoke(data_app, command)
        assert done.exit_code == 0 and isinstance(json.loads(done.stdout), dict)

def test_help_does_not_import_torch():
    code = "import sys; from loco.program.data import data_app; print({'torch', 'huggingface_hub'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout.strip() == "set()"
    for command in ("download", "check", "pack", "info", "simulate"): assert CliRunner().invoke(data_app, [command, "--help"]).exit_code == 0

def test_simulate_pack_and_info_at_the_command_line(tmp_path):
    out = str(tmp_path/"demo")
    for line in (["simulate", "--out", out, "--videos", "6", "--classes", "2", "--layout", "i3d-vggish", "--quiet"], ["pack", out, "--quiet"], ["info", out], ["simulate", "--videos", "20"]):
        done = CliRunner().invoke(data_app, line)
        assert done.exit_code == 0, done.output
    assert "simulated" in done.output
    (tmp_path/"my set").mkdir()
    shutil.move(f"{out}/annotations.json", tmp_path/"my set"); shutil.move(f"{out}/i3d-vggish", tmp_path/"my set")
    assert f"--data.root '{tmp_path}/my set'" in CliRunner().invoke(data_app, ["pack", str(tmp_path/"my set"), "--quiet"]).output
    assert FeatureStore(f"{out}/i3d-vggish-store").clock == Clock(25, 24, 8)
