// The page asks the gateway on the same origin; its session is a cookie that no script can read.
const at = (id) => document.getElementById(id);

async function call(path, options = {}) {
  const headers = { "X-CSRF": "1", ...(options.body && { "Content-Type": "application/json" }) };
  const reply = await fetch(`/api/${path}`, { ...options, headers });
  const value = await reply.json();
  if (!reply.ok) throw value;
  return value;
}

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  made.append(...children);
  return made;
}

function table({ columns, rows }) {
  const head = element("tr", null, ...columns.map((title) => element("th", title)));
  const body = rows.map((row) => element("tr", null, ...row.map((cell) => element("td", cell))));
  return element("table", null, element("thead", null, head), element("tbody", null, ...body));
}

function show({ answer }) {
  const queries = answer.queries.map(({ language, text }) =>
    element("details", null, element("summary", `The ${language.toUpperCase()} behind it`), element("pre", text)),
  );
  const words = answer.tables.length ? answer.text.split("\n\n")[0] : answer.text;
  at("answer").replaceChildren(element("p", words), ...answer.tables.map(table), ...queries);
}

function tell(problem) {
  at("status").textContent = problem.detail ?? "The gateway cannot be reached.";
}

async function ask(event) {
  event.preventDefault();
  at("answer").replaceChildren();
  at("status").textContent = "Asking … this can take a minute.";
  const question = { question: at("question").value, agent: at("agent").value };
  try {
    show(await call("query", { method: "POST", body: JSON.stringify(question) }));
    at("status").textContent = "";
  } catch (problem) {
    tell(problem);
    if (problem.code === "step_up_required" && problem.login_url)
      location.assign(`${problem.login_url}&return_to=${encodeURIComponent(location.pathname)}`);
  }
}

async function signOut() {
  const { end_session_url: next } = await call("logout", { method: "POST" });
  location.assign(next);
}

async function begin() {
  const failed = new URLSearchParams(location.search).get("error");
  if (/^[a-z_]{1,40}$/.test(failed ?? "")) at("status").textContent = `The sign-in failed (${failed}). Try again.`;
  try {
    const session = await call("session");
    at("who").textContent = session.name || session.username;
    const { agents } = await call("agents");
    at("agent").replaceChildren(...agents.map(({ name }) => element("option", name)));
    at("form").hidden = at("sign-out").hidden = false;
  } catch (problem) {
    at("who").textContent = "Not signed in";
    at("sign-in").hidden = false;
    if (problem.status !== 401) tell(problem);
  }
}

at("form").addEventListener("submit", ask);
at("sign-out").addEventListener("click", () => signOut().catch(tell));
begin();
