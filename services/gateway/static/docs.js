// Shows /openapi.json. Nothing leaves this origin: the public validator is off, and a token entered here is not kept.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: false,
  validatorUrl: null,
});
