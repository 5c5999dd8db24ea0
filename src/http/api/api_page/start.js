// Shows this server's own document, and asks nobody else: the badge would send it to a validator on the internet.
SwaggerUIBundle({
  dom_id: '#swagger-ui',
  url: 'openapi.json',
  validatorUrl: null,
  deepLinking: true,
  tryItOutEnabled: true,
  persistAuthorization: false, // tokens are forgotten with the page
})
