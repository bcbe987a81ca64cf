// Follows a job to its end.
import { call, path, stream } from "./api.js";
import { PageError, reasonOf } from "./errors.js";

const ENDS = new Set(["SUCCEEDED", "FAILED", "CANCELLED"]);
const POLL_MS = 1000;

// Shows each change in `row`; returns the job once it has succeeded, throws when it has failed or was cancelled.
export async function followJob(jobId, row) {
  let job = await watch(jobId, row);
  while (!ENDS.has(job?.state)) {
    // The stream was cut: what it would have said can still be asked for.
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    job = (await call("GET", path`/api/v1/jobs/${jobId}`)).job;
    show(row, job);
  }
  if (job.state !== "SUCCEEDED") throw new PageError(`job_${job.state}`, { reason: reasonOf(job.error) });
  return job;
}

async function watch(jobId, row) {
  let job;
  try {
    for await (const event of stream("GET", path`/api/v1/jobs/${jobId}/watch`)) {
      job = event.job ?? job;
      show(row, job);
      if (ENDS.has(job?.state)) break;
    }
  } catch (error) {
    if (error.status) throw error;
  }
  return job;
}

function show(row, job = {}) {
  const { state = "PENDING", stage, chunks_done: done = 0, chunks_total: total = 0 } = job;
  if (state === "SUCCEEDED") row.show("job_SUCCEEDED", {}, 1);
  else if (state !== "RUNNING" || !stage) row.show(`job_${state}`, { reason: reasonOf(job.error) });
  else row.show(`stage_${stage}`, { done, total }, total ? done / total : undefined);
}
