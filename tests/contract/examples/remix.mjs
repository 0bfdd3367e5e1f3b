// Put references into one picture, as a workflow tool does it: wait, query, and take the task id of
// each next query from the answer to the one before. At the end, read the balance.
//
//   BASE_URL=http://127.0.0.1:8000 API_KEY=dk-live_... node remix.mjs image.png another.png
import { readFile } from 'node:fs/promises';

const baseUrl = process.env.BASE_URL;
const authorization = { Authorization: `Bearer ${process.env.API_KEY}` };
const json = { ...authorization, 'Content-Type': 'application/json' };

// Looks at the body only: it is JSON whatever the status is.
const read = async (path, options) => (await fetch(baseUrl + path, options)).json();

const images = await Promise.all(
  process.argv.slice(2).map(async (path) => {
    const data = await readFile(path, { encoding: 'base64' });
    return `data:image/png;base64,${data}`;
  }),
);

let answer = await read('/api/image/gen', {
  method: 'POST',
  headers: json,
  body: JSON.stringify({
    model: 'google/nano-banana',
    prompt: ' ',
    images,
    parameters: { negative_prompt: 'text', steps: 20 },
    strength: 0.6,
  }),
});
const first = answer.data.task_id;

do {
  await new Promise((resolve) => setTimeout(resolve, 250));
  answer = await read(`/api/task/query?task_id=${answer.data.task_id}`, { headers: json });
} while (!['success', 'failed'].includes(answer.data.status));

const image = answer.data.result[0].image;
const download = await fetch(image);
const balance = await read('/api/user', { headers: authorization });

console.log(
  JSON.stringify({
    sameTask: answer.data.task_id === first,
    consumed: parseFloat(answer.data.consumed),
    created: !Number.isNaN(Date.parse(answer.data.created_at)),
    image,
    type: download.headers.get('content-type'),
    bytes: (await download.arrayBuffer()).byteLength,
    credit: balance.data.credit,
  }),
);
