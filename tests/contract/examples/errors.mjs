// What a careful client reads from the answers that are not a task: code, detail, message.
//
//   BASE_URL=http://127.0.0.1:8000 API_KEY=dk-live_... node errors.mjs
const baseUrl = process.env.BASE_URL;
const key = `Bearer ${process.env.API_KEY}`;

async function ask(path, { method = 'GET', authorization = key, body } = {}) {
  const headers = { 'Content-Type': 'application/json', Authorization: authorization };
  const response = await fetch(baseUrl + path, { method, headers, body });
  const answer = await response.json();
  const error = answer.detail ?? answer.message;
  console.log(`${response.status} ${answer.code} ${error}`);
}

const post = (value) => ({ method: 'POST', body: JSON.stringify(value) });
const model = 'google/gempix2';

await ask('/api/image/gen', post({ model }));
await ask('/api/image/gen', post({ prompt: 'a boat' }));
await ask('/api/image/gen', post({ model: 'nobody/nothing', prompt: 'a boat' }));
await ask('/api/image/gen', post({ model, prompt: 'a boat', images: Array(5).fill('https://a/b') }));
await ask('/api/image/gen', { ...post({ model, prompt: 'a boat' }), authorization: 'Bearer dk-x' });
await ask('/api/task/query?task_id=ta000000-0000-0000-0000-000000000000');
await ask('/api/task/query?task_id=ta1', { authorization: 'Bearer dk-x' });
await ask('/api/user', { authorization: 'Bearer dk-x' });
await ask('/api/nowhere');
