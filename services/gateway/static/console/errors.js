// Failures: those the page finds itself have a text key; those of the server keep its sentence.

export class PageError extends Error {
  constructor(key, values = {}) {
    super(key);
    this.key = key;
    this.values = values;
  }
}

export class ApiError extends Error {
  constructor(status, { message, type, requestId }) {
    super(message);
    this.status = status;
    this.type = type;
    this.requestId = requestId;
  }
}

// Reads the one error shape: {"success": false, "message", "error": {"type", "code", "details"}, "metadata": {"request_id"}}.
export function errorOf(status, text) {
  try {
    const body = JSON.parse(text);
    if (body.message) {
      return new ApiError(status, { message: body.message, type: body.error?.type, requestId: body.metadata?.request_id });
    }
  } catch {
    // Not JSON: said below.
  }
  const error = new PageError(status ? "error_status" : "error_network", { status });
  error.status = status;
  return error;
}

export const reasonOf = (error = {}) =>
  [error.type, ...Object.values(error.details ?? {}).filter((value) => typeof value === "string")].filter(Boolean).join(" · ");
