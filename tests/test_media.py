"Media files as they are found: each test makes a file with one property, with a flash and a beep at known times, and asks when they are seen and heard"
import os, stat, struct, warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip('av')
from loco.core.clock import Clock
from loco.core.errors import BadInput, Missing
from loco.media import default_clock, open_video, read_video

WIDTH, HEIGHT, FPS = 64, 48, 8
DEPTH = {'s16': np.int16, 's32': np.int32}

# ---------------------------------------------------------------- a maker of files

def grey(level, shape=(HEIGHT, WIDTH)): return np.full((*shape, 3), level, np.uint8)

def pictures(stream, mux, times, paint, *, fps=FPS, base=1000):
    "Encode one picture a time"
    for t in times:
        f = av.VideoFrame.from_ndarray(paint(t), format='rgb24')
        f.pts, f.time_base = round(t*base), Fraction(1, base)
        mux(stream.encode(f))
    mux(stream.encode(None))

def waves(stream, mux, spans, beep, *, channels=1, layout='mono', only=None, block=1024, stretch=1.):
    "Encode sound within the spans; `only`: the one channel that beeps; `stretch`: how much faster than the samples the stamps go"
    rate = stream.rate
    for begin, end in spans:
        for n in range(round(begin*rate), round(end*rate), block):
            t = np.arange(n, n + block)/rate*stretch
            x = np.where((t >= beep[0]) & (t < beep[1]), .5*np.sin(2*np.pi*1000*t), 0).astype(np.float32)
            x = np.stack([x*(only is None or k == only) for k in range(channels)])
            if stream.format.name[:3] in DEPTH: x = (x*(2**(int(stream.format.name[1:3]) - 1) - 1)).astype(DEPTH[stream.format.name[:3]])
            packed = not stream.format.is_planar
            f = av.AudioFrame.from_ndarray(np.ascontiguousarray(x.T).reshape(1, -1) if packed else x, format=stream.format.name, layout=layout)
            f.sample_rate, f.pts, f.time_base = rate, round(n*stretch), Fraction(1, rate)
            mux(stream.encode(f))
    mux(stream.encode(None))

def make(path, seconds=8., *, flash=(5, 6), beep=(5, 6), codec='pcm_s16le', vcodec='mpeg4', rate=16000, layout='mono', fps=FPS, times=None, sound=None, paint=None,
         matrix=None, form=None, options=None, shape=(HEIGHT, WIDTH), pix='yuv420p', only=None, pixel=None, tracks=None, stretch=1., voptions=None, silent=False, blind=False):
    "A video of `seconds`, or with pictures at `times` and sound within the spans `sound`"
    light = lambda t: grey(255 if flash[0] <= t < flash[1] else 16, shape)
    channels = {'mono': 1, 'stereo': 2, '5.1': 6}[layout]
    with av.open(str(path), 'w', format=form, options=options or {}) as out:
        if not blind:
            v = out.add_stream(vcodec, rate=fps, options=voptions or {})
            v.width, v.height, v.pix_fmt, v.time_base = shape[1], shape[0], pix, Fraction(1, 1000)
            v.codec_context.time_base = Fraction(1, 1000) if vcodec not in ('mpeg4', 'mpeg2video') else Fraction(1, fps)
            if matrix is not None: v.set_display_matrix(matrix)
            if pixel: v.sample_aspect_ratio = v.codec_context.sample_aspect_ratio = pixel
        heard = [] if silent else tracks or [(beep, None)]
        streams = []
        for _, language in heard:
            s = out.add_stream(codec, rate=rate, layout=layout)
            if language: s.metadata['language'] = language
            streams.append(s)
        every = np.arange(0, seconds, 1/fps) if times is None else times
        jobs = [] if blind else [(v, lambda mux: pictures(v, mux, every, paint or light))]
        jobs += [(s, lambda mux, s=s, b=b: waves(s, mux, sound or [(0, seconds)], b, channels=channels, layout=layout, only=only, stretch=stretch)) for s, (b, _) in zip(streams, heard)]
        packets = []
        if not blind: v.codec_context.open() if not v.codec_context.is_open else None
        for s in streams: s.codec_context.open() if not s.codec_context.is_open else None
        for _, job in jobs: job(packets.extend)
        for p in sorted(packets, key=lambda p: float((p.dts or 0)*p.time_base)): out.mux(p)
    return path

def first(path, *, track=None, clock=default_clock, **options):
    "Seconds at which the flash is seen and the beep heard, and the notes"
    with open_video(path, clock=clock, size=(24, 32), rate=16_000, track=track, **options) as reader:
        lit = loud = None
        for p in reader.pieces(7, margin=.48):
            bright, heard = p.frames.mean((1, 2, 3)) > 128, np.abs(p.sound) > .1
            if lit is None and bright.any(): lit = clock.seconds(p.first + bright.argmax())
            if loud is None and heard.any(): loud = p.begins + heard.argmax()/16_000
        return lit, loud, reader.notes, reader.duration

def check(path, flash=5., beep=5., *, says='', late=.07, **options):
    "The step shown may be up to a step late, the sound a block of its codec; `says`: a part of the only note"
    lit, loud, notes, _ = first(path, **options)
    assert (lit is None) == (flash is None) and (flash is None or -.01 <= lit - flash <= default_clock.step + late), (lit, flash)
    assert (loud is None) == (beep is None) and (beep is None or abs(loud - beep) < late), (loud, beep)
    assert (len(notes) == 1 and says in notes[0]) if says else not notes, notes

# ---------------------------------------------------------------- time

@pytest.mark.parametrize('name, options', [
    ('plain.mkv', {}), ('plain.avi', {}), ('plain.mov', {}), ('aac.mp4', dict(codec='aac')), ('aac.mkv', dict(codec='aac')), ('mp3.mkv', dict(codec='libmp3lame', rate=44100)),
    ('opus.webm', dict(codec='libopus', rate=48000, vcodec='libvpx')), ('flac.mkv', dict(codec='flac', rate=96000)), ('low.wav.mkv', dict(rate=8000)),
    ('x264.mp4', dict(codec='aac', vcodec='libx264')), ('x264.ts', dict(codec='aac', vcodec='libx264')), ('mpeg2.ts', dict(codec='mp2', vcodec='mpeg2video', fps=25, rate=44100)),
    ('five.mkv', dict(layout='5.1', only=2)), ('ten.mkv', dict(vcodec='ffv1', pix='yuv420p10le')), ('film.mp4', dict(codec='aac', vcodec='libx264', fps=24))], ids=lambda o: o if isinstance(o, str) else '')
def test_kinds_of_file(tmp_path, name, options):
    "Containers, codecs, rates, layouts and depths: the same times"
    check(make(tmp_path/name, **options))

@pytest.mark.parametrize('form', ['mkv', 'mp4', 'ts'])
@pytest.mark.parametrize('late', ['picture', 'sound'])
def test_late_track(tmp_path, form, late):
    "Time begins with the file, whichever of its tracks is late"
    times = np.arange(2 if late == 'picture' else 0, 10, 1/FPS)
    sound = [(2 if late == 'sound' else 0, 10)]
    check(make(tmp_path/f'a.{form}', times=times, sound=sound, codec='aac', vcodec='mpeg2video' if form == 'ts' else 'mpeg4', fps=25 if form == 'ts' else FPS))

def test_black_before_the_first_picture(tmp_path):
    frames, _ = read_video(make(tmp_path/'a.mkv', times=np.arange(2, 6, 1/FPS), sound=[(0, 6)], flash=(0, 9)))
    lit = frames.mean((1, 2, 3)) > 128
    assert not lit[:6].any() and lit[6:].all()      # step 6 is at 2 s

@pytest.mark.parametrize('form', ['mkv', 'mp4', 'ts'])
def test_offset(tmp_path, form):
    "A file whose own time begins at 1,000 s, as a piece cut out of a broadcast does"
    path = make(tmp_path/f'a.{form}', times=np.arange(1000, 1008, 1/FPS), sound=[(1000, 1008)], flash=(1005, 1006), beep=(1005, 1006),
                codec='aac', vcodec='mpeg2video' if form == 'ts' else 'mpeg4', fps=25 if form == 'ts' else FPS)
    check(path)

def test_pause_in_the_sound(tmp_path):
    "Where no sound comes there is silence"
    check(make(tmp_path/'a.mkv', 20, sound=[(0, 5), (10, 20)], flash=(15, 16), beep=(15, 16)), 15, 15)

def test_pause_in_the_picture(tmp_path):
    "Where no picture comes the last one stands"
    times = np.r_[np.arange(0, 5, 1/FPS), np.arange(10, 20, 1/FPS)]
    frames, _ = read_video(make(tmp_path/'a.mkv', times=times, sound=[(0, 20)], flash=(4.5, 12)))
    lit = default_clock.seconds(np.flatnonzero(frames.mean((1, 2, 3)) > 128))
    assert lit[0] == 4.5 and lit[-1] == 11.75 and len(lit) == 30

def test_rare_pictures(tmp_path):
    "A slide show: one picture in eight seconds"
    check(make(tmp_path/'a.mkv', times=[0, 8, 16, 24], sound=[(0, 32)], flash=(8, 16), beep=(9, 10)), 8, 9, says='picture ends at 24.1 s of 32.0 s')

def test_uneven_pictures(tmp_path):
    times = np.cumsum(np.random.default_rng(0).choice([.02, .05, .3], 80))
    at = times[times > 5][0]
    check(make(tmp_path/'a.mkv', times=times, sound=[(0, times[-1])], vcodec='libx264', flash=(at, at + 1)), at)

def test_stamps_that_drift(tmp_path):
    "Sound whose samples last one percent less than its stamps say lies where the stamps say"
    check(make(tmp_path/'a.mkv', 20, beep=(15, 16), flash=(15, 16), sound=[(0, 19)], stretch=1.01), 15, 15)

def joined(folder, *parts):
    "Transport streams one after the other"
    paths = [make(folder/f'{k}.ts', 4, vcodec='mpeg2video', fps=25, codec='mp2', **{'rate': 44100, **p}) for k, p in enumerate(parts)]
    (folder/'joined.ts').write_bytes(b''.join(p.read_bytes() for p in paths))
    return folder/'joined.ts'

NO = (-1, -1)
def test_joined_files(tmp_path):
    "The clock starts anew, and rate and layout change: time goes on, and what comes after the joint is in its place"
    check(joined(tmp_path, dict(flash=NO, beep=NO), dict(flash=(1, 2), beep=(1, 2), rate=48000, layout='stereo')), 5, 5, says='starts anew', late=.1)
    check(joined(tmp_path, dict(flash=NO, beep=NO), dict(flash=NO, beep=NO, rate=22050), dict(flash=(1, 2), beep=(1, 2))), 9, 9, says='anew 2 times', late=.15)

def test_broadcast_leaps(tmp_path):
    "A leap of a broadcast's clock is no time that passed"
    late = dict(times=np.arange(500, 504, 1/25), sound=[(500, 504)], flash=(501, 502), beep=(501, 502))
    check(joined(tmp_path, dict(flash=NO, beep=NO), late), 5, 5, says='starts anew', late=.1)

def test_jump(tmp_path):
    "Ten minutes of nothing: player's time holds, one frame is kept, and it is said"
    path = make(tmp_path/'a.mp4', times=np.r_[np.arange(0, 3, 1/FPS), np.arange(603, 606, 1/FPS)], sound=[(0, 3), (603, 606)], flash=(604, 605), beep=(604, 605), codec='aac')
    check(path, 604, 604, says='nothing from 3.0 s to 603.0 s')

def test_endless_jump(tmp_path):
    "A clock that jumps by years: what came before is used, quickly"
    path = make(tmp_path/'a.mkv', times=np.r_[np.arange(0, 8, 1/FPS), 3e6], sound=[(0, 8)], vcodec='mjpeg', pix='yuvj420p')
    lit, loud, notes, duration = first(path)
    assert duration == pytest.approx(8, abs=.2) and lit == 5 and any('jumps' in n for n in notes)

def test_one_track_ends_early(tmp_path):
    "The last picture stands, or silence follows; both are said"
    check(make(tmp_path/'a.mkv', times=np.arange(0, 4, 1/FPS), sound=[(0, 8)], flash=(1, 2)), 1, 5, says='picture ends at 4.0 s')
    check(make(tmp_path/'b.mkv', sound=[(0, 4)], beep=(1, 2)), 5, 1, says='sound ends at 4.0 s')

# ---------------------------------------------------------------- tracks

def test_choice_of_sound(tmp_path):
    path = make(tmp_path/'a.mkv', tracks=[((2, 3), 'eng'), ((5, 6), 'deu')])
    check(path, 5, 2, says='track 1 of 2')
    check(path, 5, 5, says='track 2 of 2', track=2)
    check(path, 5, 5, says='(deu)', track='deu')
    with pytest.raises(BadInput, match='there are 1 .eng., 2 .deu.'): open_video(path, track='fra')

def test_missing_track(tmp_path):
    "Refused by name, or zeros on request, with a note"
    mute, blind = make(tmp_path/'mute.mkv', silent=True), make(tmp_path/'blind.mka', blind=True)
    with pytest.raises(BadInput, match='mute.mkv has no sound track.*video-only'): open_video(mute)
    with pytest.raises(BadInput, match='blind.mka has no picture track.*audio-only'): open_video(blind)
    check(mute, 5, None, says='without its sound', video_only=True)
    check(blind, None, 5, says='without its picture', audio_only=True)
    both = make(tmp_path/'both.mkv')
    check(both, None, 5, says='without its picture', audio_only=True)
    with open_video(both, video_only=True) as r: p = next(r.pieces(4))
    assert p.seen and not p.heard and not p.sound.any()
    with pytest.raises(BadInput, match='exclude'): open_video(both, audio_only=True, video_only=True)

def test_cover_is_no_video(tmp_path):
    "A picture inside a song is not what it looks like to the eye"
    jpeg = tmp_path/'c.jpg'
    with av.open(str(jpeg), 'w', format='mjpeg') as out:
        s = out.add_stream('mjpeg', rate=1)
        s.width, s.height, s.pix_fmt = 64, 64, 'yuvj420p'
        for x in (av.VideoFrame.from_ndarray(grey(200, (64, 64)), format='rgb24'), None): out.mux(s.encode(x))
    picture = b'\0image/jpeg\0\3\0' + jpeg.read_bytes()
    safe = lambda n: bytes((n >> k) & 127 for k in (21, 14, 7, 0))
    tag = b'APIC' + safe(len(picture)) + b'\0\0' + picture
    song = make(tmp_path/'song.mp3', blind=True, codec='libmp3lame', options={'id3v2_version': '0', 'write_xing': '0'})
    (tmp_path/'covered.mp3').write_bytes(b'ID3\4\0\0' + safe(len(tag)) + tag + song.read_bytes())
    with av.open(str(tmp_path/'covered.mp3')) as c: assert len(c.streams.video) == 1
    with pytest.raises(BadInput, match='no picture track'): open_video(tmp_path/'covered.mp3')

# ---------------------------------------------------------------- shape

SIDES = dict(left=np.s_[:, :WIDTH//4], right=np.s_[:, -WIDTH//4:], top=np.s_[:HEIGHT//4], bottom=np.s_[-HEIGHT//4:])
def painted(side):
    a = grey(0)
    a[SIDES[side]] = 255
    return a

@pytest.mark.parametrize('matrix, side, shown', [((1, 0, 0, 1), 'left', 'left'), ((0, 1, -1, 0), 'left', 'top'), ((0, 1, -1, 0), 'bottom', 'left'), ((0, -1, 1, 0), 'left', 'bottom'),
    ((-1, 0, 0, -1), 'top', 'bottom'), ((-1, 0, 0, 1), 'left', 'right'), ((1, 0, 0, -1), 'top', 'bottom'), ((0, 1, 1, 0), 'left', 'top'), ((0, -1, -1, 0), 'left', 'bottom')])
def test_turned(tmp_path, matrix, side, shown):
    "All turns and mirrorings that a phone may write"
    a, b, c, d = (o*65536 for o in matrix)
    path = make(tmp_path/'a.mp4', 2, paint=lambda t: painted(side), codec='aac')
    data = bytearray(path.read_bytes())
    at = data.find(struct.pack('>9i', 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30), data.find(b'tkhd'))
    data[at:at + 36] = struct.pack('>9i', a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    upright = matrix[0] == 0
    with open_video(path, size=(WIDTH, HEIGHT) if upright else (HEIGHT, WIDTH)) as r: frame = next(r.pieces(1)).frames[0].mean(-1)
    h, w = frame.shape
    parts = dict(left=frame[:, :w//4], right=frame[:, -w//4:], top=frame[:h//4], bottom=frame[-h//4:])
    assert max(parts, key=lambda k: parts[k].mean()) == shown and parts[shown].mean() > 200

@pytest.mark.parametrize('shape, pixel', [((48, 128), None), ((128, 48), None), ((48, 64), Fraction(2, 1)), ((96, 64), Fraction(1, 2))])
def test_shape_is_kept(tmp_path, shape, pixel):
    "A square stays a square: wide, upright, and with pixels that are none"
    h, w = shape
    wide = float(pixel or 1)
    def paint(t):
        y, x = np.mgrid[:h, :w]
        return np.where(((np.abs(y - h/2) < 12) & (np.abs(x - w/2)*wide < 12))[..., None], 255, 0).repeat(3, -1).astype(np.uint8)
    path = make(tmp_path/'a.mkv', 2, paint=paint, shape=shape, pixel=pixel)
    with open_video(path, size=(128, 160)) as r: frame = next(r.pieces(1)).frames[0].mean(-1) > 128
    tall, long = (int(frame.any(k).sum()) for k in (1, 0))
    assert tall == pytest.approx(long, abs=3) and tall > 10

def test_interlaced(tmp_path):
    "Of two woven half pictures, white and black, one is seen, not stripes"
    comb = lambda t: (np.arange(HEIGHT)[:, None, None]%2*255).repeat(WIDTH, 1).repeat(3, 2).astype(np.uint8)
    path = make(tmp_path/'a.mkv', 2, paint=comb, vcodec='mpeg2video', fps=25, voptions={'flags': '+ilme+ildct'})
    for size in ((24, 32), (23, 31)):
        with open_video(path, size=size) as r: frames = next(r.pieces()).frames
        assert np.ptp(frames[:, 2:-2, 2:-2].astype(int)) < 20

# ---------------------------------------------------------------- damage

def test_damaged_packets(tmp_path):
    "Players play on: what cannot be decoded is skipped and counted"
    path = make(tmp_path/'a.ts', 12, codec='aac', vcodec='libx264', fps=25, flash=(8, 9), beep=(8, 9), paint=lambda t: np.random.default_rng(int(t*25)).integers(0, 40, (HEIGHT, WIDTH, 3)).astype(np.uint8) + np.uint8(200*(8 <= t < 9)))
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(0)
    for at in rng.integers(2000, len(data) - 4, 40): data[at:at + 4] = rng.bytes(4)
    path.write_bytes(data)
    lit, loud, notes, duration = first(path)
    assert lit == pytest.approx(8, abs=.5) and loud == pytest.approx(8, abs=.3) and duration > 11.5

@pytest.mark.parametrize('form, options', [('mp4', dict(options={'movflags': 'faststart'}, codec='aac')), ('mkv', {})])
def test_cut_short(tmp_path, form, options):
    "The first half of a file: said, and used up to there"
    noise = lambda t: np.random.default_rng(int(t*FPS)).integers(0, 40, (HEIGHT, WIDTH, 3)).astype(np.uint8) + np.uint8(200*(3 <= t < 4))
    path = make(tmp_path/f'a.{form}', 20, beep=(3, 4), paint=noise, **options)
    data = path.read_bytes()
    begin = max(0, data.find(b'mdat'))
    path.write_bytes(data[:begin + (len(data) - begin)*7//10])
    lit, loud, notes, duration = first(path)
    assert lit == 3 and loud == pytest.approx(3, abs=.06) and 3.5 < duration < 16
    assert any(f'breaks off at {duration:.1f} s of 20.' in n for n in notes), notes

def test_cut_before_its_index(tmp_path):
    path = make(tmp_path/'a.mp4', codec='aac')
    path.write_bytes(path.read_bytes()[:path.stat().st_size//2])
    with pytest.raises(BadInput, match='a.mp4.*complete'): open_video(path)

# ---------------------------------------------------------------- what is no video

def test_no_video(tmp_path):
    text, empty, pipe, script = (tmp_path/n for n in ('text.mp4', 'empty.mp4', 'pipe.mp4', 'list.mp4'))
    text.write_text('not a video')
    empty.touch()
    os.mkfifo(pipe)
    script.write_text('#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n#EXT-X-ENDLIST\n')
    for path, says in ((text, 'text.mp4 cannot be read'), (empty, '0 bytes'), (pipe, 'pipe or a device'), ('/dev/zero', 'pipe or a device'), (tmp_path, 'is a folder'), (script, 'list.mp4')):
        with pytest.raises(BadInput, match=says): open_video(path)
    with pytest.raises(Missing, match='absent.mp4'): open_video(tmp_path/'absent.mp4')

@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='the superuser may read all')
def test_no_permission(tmp_path):
    path = make(tmp_path/'a.mkv')
    path.chmod(0)
    with pytest.raises(BadInput, match='may not be read'): open_video(path)

def test_too_short(tmp_path):
    with pytest.raises(BadInput, match='a.mkv lasts 0.[34]'): read_video(make(tmp_path/'a.mkv', .3))

@pytest.mark.parametrize('name', ['12:30 concert.mkv', '-dash.mkv', 'http:x.mkv', 'Gewitter über Köln.mkv', '雷雨.mkv', 'رعد.mkv', '100%d.mkv', 'a\nb.mkv', 'file:b.mkv', b'\xff\xfe.mkv'], ids=repr)
def test_names(tmp_path, monkeypatch, name):
    "Names that look like something else, in any script, by relative path"
    make(tmp_path/'plain.mkv', 2).rename(tmp_path/os.fsdecode(name))
    monkeypatch.chdir(tmp_path)
    assert len(read_video(os.fsdecode(name))[0]) == 5

# ---------------------------------------------------------------- pieces

@pytest.mark.parametrize('name', ['12:30 concert.mkv', 'http:x.mp4', 'late.mkv', 'late.ts', 'list.mp4'])
def test_lengths_for_annotations_are_those_of_a_player(tmp_path, monkeypatch, name):
    "Any name, by relative path; a file whose own time begins at 1,000 s; a list of other files has none"
    from loco.data.labels import video_facts
    monkeypatch.chdir(tmp_path)
    (tmp_path/'videos').mkdir()
    if name == 'list.mp4':
        make(tmp_path/'other.mkv', 8)
        (tmp_path/'videos'/name).write_text('ffconcat version 1.0\nfile ../other.mkv\n')
    else:
        begin, broadcast = 1000*(name[:4] == 'late'), name.endswith('ts')
        make(tmp_path/'videos'/name, times=np.arange(begin, begin + 8, 1/FPS), sound=[(begin, begin + 8)], codec='aac', vcodec='mpeg2video' if broadcast else 'mpeg4', fps=25 if broadcast else FPS)
    notes = []
    facts = video_facts('videos', notes=notes)
    if name == 'list.mp4': assert not facts and len(notes) == 1
    else: assert [round(o['duration']) for o in facts.values()] == [8], facts

@pytest.mark.parametrize('clock', [default_clock, Clock(fps=25, window=24, stride=8), Clock(fps=8, window=1, stride=1)], ids=str)
def test_pieces_are_the_whole(tmp_path, clock):
    "Whatever their size, and with any margin"
    path = make(tmp_path/'a.mp4', 9.7, codec='aac', vcodec='libx264', fps=25, paint=lambda t: grey(int(t*20)))
    frames, sound = read_video(path, clock=clock, size=(24, 32))
    assert len(frames) == clock.steps(9.72)
    padded = np.pad(sound, 32_000)
    for n, margin in ((1, 0.), (7, .48), (1000, 1.)):
        with open_video(path, clock=clock, size=(24, 32)) as r: pieces = list(r.pieces(n, margin=margin))
        assert [len(p.frames) for p in pieces[:-1]] == [n]*(len(pieces) - 1)
        np.testing.assert_array_equal(np.concatenate([p.frames for p in pieces]), frames)
        for p in pieces:
            at = round(p.begins*16_000) + 32_000
            assert p.begins == pytest.approx(clock.seconds(p.first) - margin, abs=1e-4)
            inside = slice(0, max(0, min(len(p.sound), len(sound) + 32_000 - at)))
            np.testing.assert_array_equal(p.sound[inside], padded[at:at + len(p.sound)][inside])

@pytest.mark.parametrize('codec, form', [('libx264', 'mp4'), ('libx264', 'mkv'), ('libx264', 'ts'), ('mpeg4', 'mp4'), ('libx265', 'mp4')])
def test_skipping_changes_nothing(tmp_path, monkeypatch, codec, form):
    "Pictures that are not looked at are not decoded; those that are come out the same"
    from loco.media import video
    paint = lambda t: np.roll(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8), int(t*30), 1)
    path = make(tmp_path/f'a.{form}', 6, codec='aac', vcodec=codec, fps=30, paint=paint)
    fast, skipped, unseen = read_video(path)[0], [], video._Intake._unseen
    monkeypatch.setattr(video._Intake, '_unseen', lambda self, p: skipped.append(unseen(self, p)) and False)
    np.testing.assert_array_equal(read_video(path)[0], fast)
    assert np.mean(skipped) > .4

def test_flat_memory(tmp_path):
    "What a reader keeps does not grow with the file, even where one track lies behind the other"
    path = make(tmp_path/'a.mkv', 240, fps=2, sound=[(0, 240)], rate=8000)
    with open_video(path, size=(24, 32)) as r:
        kept = [(len(r.intake.pictures.kept), r.intake.sound.end - r.intake.sound.first) for _ in r.pieces(16)]
    assert max(k for k, _ in kept) < 300 and max(s for _, s in kept) < 5*16_000

def test_lagging_track(tmp_path):
    "A file with all its pictures before its sound, an hour apart, is not kept whole"
    path = make(tmp_path/'a.mkv', times=np.arange(0, 400, 2.), sound=[(0, 2), (390, 400)], flash=(394, 396), beep=(394, 396), rate=8000)
    with open_video(path, size=(24, 32)) as r:
        kept = [len(r.intake.pictures.kept) for _ in r.pieces(16)]
    assert max(kept) < 400
    assert first(path)[1] == pytest.approx(394, abs=.1)
