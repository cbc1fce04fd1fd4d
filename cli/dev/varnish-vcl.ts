/**
 * The VCL of development's Varnish. Whatever loopback name and port it is asked by, a page is cached under the address
 * of its site, as behind a CDN that has one public name: that is the url which a publisher knows.
 */
export const originVcl = (siteHost: string): string => `
sub vcl_recv {
  if (req.method != "PURGE" && req.method != "BAN" && req.http.Host ~ "^(127\\.0\\.0\\.1|localhost|\\[::1\\])(:[0-9]+)?$") {
    set req.http.Host = "${siteHost}";
  }
}
include "tidemark.vcl";
`
