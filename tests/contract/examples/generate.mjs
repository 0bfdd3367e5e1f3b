// Create an image and wait for it. Needs Node 18 or newer, and nothing else.
//
//   BASE_URL=http://127.0.0.1:8000 API_KEY=dk-live_... node generate.mjs
const baseUrl = process.env.BASE_URL;
const headers = {
  'Content-Type': 'application/json',
  Authorization: `Bearer ${process.env.API_KEY}`,
};

async function createTask() {
  const response = await fetch(`${baseUrl}/api/image/gen`, {
    method: 'POST',
    headers,
    body: JSON.stringify({
      model: 'google/gempix2',
      prompt: 'A tomato in a space suit, studio light',
      aspect_ratio: '16:9',
      mode: 'text-to-image',
    }),
  });
  const body = await response.json();
  if (body.code !== 0) throw new Error(body.detail ?? body.message);
  return body.data.task_id;
}

async function queryTask(taskId) {
  const response = await fetch(`${baseUrl}/api/task/query?task_id=${taskId}`, { headers });
  const body = await response.json();
  if (body.code !== 0) throw new Error(body.detail ?? body.message);
  return body.data;
}

async function waitForTask(taskId) {
  for (let second = 0; second < 60; second += 1) {
    const task = await queryTask(taskId);
    if (task.status === 'success') return task.result.map((item) => item.image);
    if (task.status === 'failed') throw new Error(task.status_reason.message);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  throw new Error('the task took longer than a minute');
}

try {
  for (const url of await waitForTask(await createTask())) console.log(url);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
