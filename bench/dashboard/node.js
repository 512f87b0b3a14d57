// A user's dashboard, made of three services' answers, on Express.
const { axios, Breaker, gate } = require("gate");

const services = "http://127.0.0.1:${UPSTREAM}";
const app = gate({ services, store: ${STORE}, log: "${DIR}/access.log" });
const breaker = new Breaker();

app.get("/api/v1/users/:id/dashboard", async (req, res) => {
  const headers = { "x-user-id": req.user.sub };
  const ask = (path) => breaker.run(() => axios.get(`${services}/users/${req.params.id}${path}`, { headers }));
  const answers = await Promise.all(["", "/orders?limit=10", "/recommendations"].map(ask));
  const [user, orders, recommendations] = answers.map((answer) => answer.data);
  res.json({
    user: { id: user.id, name: user.name, email: user.email },
    recentOrders: orders.map(({ id, status, total, items }) => ({ id, status, total, itemCount: items.length })),
    recommendations: recommendations.slice(0, 5),
    stats: { totalOrders: orders.length, totalSpent: orders.reduce((sum, order) => sum + order.total, 0) },
  });
});
app.listen(${LISTEN}, "127.0.0.1", 4096);
