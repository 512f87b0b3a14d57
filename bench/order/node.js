// The shop's order on Express.
const { axios, Breaker, gate } = require("gate");

const services = "http://127.0.0.1:${UPSTREAM}";
const app = gate({ services, store: ${STORE}, log: "${DIR}/access.log" });
const orders = new Breaker();

const inner = (req) => ({
  userId: req.user.sub,
  items: req.body.orderItems.map(({ id, qty, unitPrice }) => ({ productId: id, quantity: qty, price: parseFloat(unitPrice) })),
  shippingAddress: {
    street: req.body.shipping.street,
    city: req.body.shipping.city,
    state: req.body.shipping.region,
    zip: req.body.shipping.postalCode,
    country: req.body.shipping.countryCode,
  },
  metadata: { source: req.headers["x-client-id"], correlationId: req.headers["x-correlation-id"] },
});

const outer = ({ id, status, createdAt, items, total, shippingAddress, estimatedDelivery }) => ({
  id, status, createdAt,
  items: items.map(({ productId, productName, quantity, price }) => ({
    id: productId, name: productName, quantity, unitPrice: price.toString(), subtotal: (quantity * price).toString(),
  })),
  total: total.toString(),
  shipping: { address: shippingAddress, estimatedDelivery },
});

app.post("/api/v1/orders", async (req, res) => {
  const headers = { "x-user-id": req.user.sub, "x-correlation-id": req.headers["x-correlation-id"] };
  const answer = await orders.run(() => axios.post(`${services}/orders`, inner(req), { headers }));
  res.json(outer(answer.data));
});
app.listen(${LISTEN}, "127.0.0.1", 4096);
