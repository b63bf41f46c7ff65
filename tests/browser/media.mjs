// Cuts the example player's clip into HLS and DASH, and repeats it so that it lasts ten minutes:
//
//   node tests/browser/media.mjs FOLDER

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { createFile } from 'mp4box';

const TIMES = 10;
const SAMPLES = { video: 50, audio: 47 }; // A key frame is every 50 frames, and 47 goes into the audio's 470.
const folder = process.argv[2];
const clip = fileURLToPath(new URL('../../examples/player/clip.mp4', import.meta.url));

/** Moves a segment to its place: its number, and when it is decoded. */
function moved(segment, number, ticks) {
  const bytes = Buffer.from(segment);
  const number_at = bytes.indexOf('mfhd') + 8;
  bytes.writeUInt32BE(number, number_at);
  const tfdt = bytes.indexOf('tfdt') + 4;
  if (bytes[tfdt] === 1) bytes.writeBigUInt64BE(bytes.readBigUInt64BE(tfdt + 4) + BigInt(ticks), tfdt + 4);
  else bytes.writeUInt32BE(bytes.readUInt32BE(tfdt + 4) + ticks, tfdt + 4);
  return bytes;
}

/** One track of the clip, cut. A file cuts all its tracks alike, so each has a file of its own. */
function cut(type) {
  const track = { type, segments: [] };
  const file = createFile();
  file.onReady = (info) => {
    const { id, codec, timescale, nb_samples, duration } = info.tracks.find((one) => one.type === type);
    Object.assign(track, { codec, timescale, duration, ticks: duration / nb_samples * SAMPLES[type] });
    file.setSegmentOptions(id, undefined, { nbSamples: SAMPLES[type], rapAlignement: false });
    track.init = file.initializeSegmentation('per-track')[0].buffer;
    file.start();
  };
  file.onSegment = (_, __, buffer) => track.segments.push(buffer);
  const bytes = readFileSync(clip);
  const whole = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  whole.fileStart = 0;
  file.appendBuffer(whole);
  file.flush();
  return track;
}

const tracks = ['video', 'audio'].map(cut);
const [video, audio] = tracks;
mkdirSync(folder, { recursive: true });
const write = (name, content) => writeFileSync(join(folder, name), content);
for (const track of tracks) {
  const { type, ticks, timescale, duration, segments } = track;
  const seconds = ticks / timescale;
  const lines = ['#EXTM3U', '#EXT-X-VERSION:7', `#EXT-X-TARGETDURATION:${Math.ceil(seconds)}`, '#EXT-X-PLAYLIST-TYPE:VOD',
    `#EXT-X-MAP:URI="${type}.mp4"`];
  write(`${type}.mp4`, Buffer.from(track.init));
  for (let n = 0; n < TIMES * segments.length; n += 1) {
    const name = `${type}-${n + 1}.m4s`;
    write(name, moved(segments[n % segments.length], n + 1, Math.floor(n / segments.length) * duration));
    lines.push(`#EXTINF:${seconds.toFixed(3)},`, name);
  }
  write(`${type}.m3u8`, [...lines, '#EXT-X-ENDLIST', ''].join('\n'));
}

write('index.m3u8', `#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="sound",DEFAULT=YES,AUTOSELECT=YES,URI="audio.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=40000,CODECS="${video.codec},${audio.codec}",AUDIO="a"
video.m3u8
`);
const set = ({ type, codec, ticks, timescale }) => `
    <AdaptationSet contentType="${type}" mimeType="${type}/mp4" codecs="${codec}" segmentAlignment="true">
      <SegmentTemplate initialization="${type}.mp4" media="${type}-$Number$.m4s" timescale="${timescale}" duration="${ticks}" startNumber="1"/>
      <Representation id="${type}" bandwidth="20000"${type === 'audio' ? ' audioSamplingRate="8000"' : ' width="320" height="180"'}/>
    </AdaptationSet>`;
write('index.mpd', `<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="static"
     mediaPresentationDuration="PT${60 * TIMES}S" minBufferTime="PT2S">
  <Period>${set(video)}${set(audio)}
  </Period>
</MPD>
`);
