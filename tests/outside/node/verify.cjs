// One delivery on standard input, {secret, headers, body}: exit status 0 if the library accepts it.
const { Webhook } = require("standardwebhooks");
const { secret, headers, body } = JSON.parse(require("fs").readFileSync(0, "utf8"));
new Webhook(secret).verify(body, headers);
