# syntax=docker/dockerfile:1
#
# The relay and, with `gateway` as its command, the gateway. From the repository's root:
#
#   docker build -f infra/docker/relay.Dockerfile -t tidemark-relay .
#   docker run --rm --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#     -v ./tidemark.config.ts:/etc/tidemark/tidemark.config.ts:ro -e REDIS_URL -e … tidemark-relay
#
# Secrets come by the environment at run time; none is needed, or kept, here.

# With a digest it is that image and no other: `--build-arg NODE=node:24-bookworm-slim@sha256:…`.
ARG NODE=node:24-bookworm-slim

FROM ${NODE} AS build
WORKDIR /src
COPY package.json package-lock.json ./
# The scripts would fetch another Node and a workerd, which nothing here uses.
RUN npm ci --ignore-scripts
COPY . .
# The programs bring all that they import; what a configuration imports of ours lies beside them.
RUN npm run generate --silent && npx tsc -b protocol && node scripts/build-programs.ts

# Distroless: Node, the libraries that it is linked to, and a place for temporary files. No shell, no package manager.
FROM ${NODE} AS runtime
RUN mkdir -p -m 1777 /runtime/tmp \
 && cp --parents --dereference $(ldd /usr/local/bin/node | grep -o '/[^ ]*') /usr/local/bin/node /runtime

FROM scratch
COPY --from=runtime /runtime /
COPY --from=build /src/package.json /app/package.json
COPY --from=build /src/dist /app/dist
COPY --from=build /src/cli/tidemark.js /app/cli/tidemark.js
WORKDIR /app
# Nobody: a number, as there is no list of names.
USER 65532:65532
# Inside a container nothing but the container itself would reach a loopback address.
ENV PATH=/usr/local/bin HOME=/tmp NODE_ENV=production \
    TIDEMARK_HOST=0.0.0.0 TIDEMARK_CONFIG=/etc/tidemark/tidemark.config.ts
EXPOSE 8788 8789
# Whether it runs. Whether it is ready says /readyz: a relay that waits for its Redis is not to be restarted.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["node", "-e", \
  "fetch(`http://127.0.0.1:${process.env.TIDEMARK_RELAY_PORT ?? 8788}/healthz`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# A small young generation: a backlog of a million is then read in half the memory, at next to no cost.
ENTRYPOINT ["node", "--max-semi-space-size=8", "cli/tidemark.js"]
CMD ["relay"]
