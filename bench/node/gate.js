// The gateway of the source document's patterns as one writes it on Express: jsonwebtoken with jwks-rsa, a
// sliding log in Redis, a breaker of counters. The rows add what is theirs.
const fs = require("node:fs");
const axios = require("axios");
const express = require("express");
const { Redis } = require("ioredis");
const jwt = require("jsonwebtoken");
const { JwksClient } = require("jwks-rsa");

const tiers = { free: 100, standard: 1000, premium: 10000000 };
const windowSeconds = 60;

function verified(services) {
  const keys = new JwksClient({ jwksUri: `${services}/jwks.json`, cache: true, rateLimit: true, jwksRequestsPerMinute: 10 });
  const key = (header, done) => keys.getSigningKey(header.kid, (error, found) => done(error, found?.getPublicKey()));
  const rules = { audience: "api://gateway", issuer: "https://auth.example.com", algorithms: ["RS256"] };
  return (req, res, next) => {
    const header = req.headers.authorization;
    if (!header?.startsWith("Bearer ")) return res.status(401).json({ error: "Missing authorization token" });
    jwt.verify(header.slice(7), key, rules, (error, claims) => {
      if (error) return res.status(401).json({ error: error.name === "TokenExpiredError" ? "Token expired" : "Invalid token" });
      req.user = claims;
      next();
    });
  };
}

function limited(port) {
  const redis = new Redis(port, "127.0.0.1", { enableAutoPipelining: true });
  let number = 0;
  return async (req, res, next) => {
    try {
      const most = tiers[req.user.tier] ?? tiers.standard;
      const key = `rate_limit:${req.user.sub}:${req.user.tier}`;
      const now = Date.now() / 1000;
      const entry = `${now}:${number++}`;
      const replies = await redis.multi()
        .zremrangebyscore(key, 0, now - windowSeconds).zadd(key, now, entry).zcard(key).expire(key, windowSeconds)
        .exec();
      if (replies[2][1] > most) return res.status(429).json({ error: "Too many requests" });
      next();
    } catch (error) {
      next(error);
    }
  };
}

class Breaker {
  failures = 0;
  openedAt = 0;

  async run(job) {
    if (this.failures >= 5 && Date.now() - this.openedAt < 30000) throw new Error("Circuit breaker is OPEN");
    try {
      const result = await job();
      this.failures = 0;
      return result;
    } catch (error) {
      this.failures += 1;
      this.openedAt = Date.now();
      throw error;
    }
  }
}

// An application that knows who asks and how much that client may, and writes a line for each answer.
function gate({ services, store, log }) {
  const app = express();
  app.disable("x-powered-by");
  const lines = fs.createWriteStream(log, { flags: "a" });
  app.use((req, res, next) => {
    const started = process.hrtime.bigint();
    res.on("finish", () => {
      const duration = Number(process.hrtime.bigint() - started) / 1000;
      lines.write(`${JSON.stringify({ time: new Date(), method: req.method, path: req.path, status: res.statusCode, duration })}\n`);
    });
    next();
  });
  app.use(express.json(), verified(services), limited(store));
  return app;
}

module.exports = { axios, Breaker, gate };
