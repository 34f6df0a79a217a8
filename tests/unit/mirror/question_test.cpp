// SPDX-License-Identifier: Apache-2.0
// Requests of the distribution protocol, and ranges of blobs.
#include "mirror/question.hpp"

#include "mirror/proxy.hpp"

#include <gmock/gmock.h>

namespace fallbackd::mirror {
namespace {

const std::string kDigest = "sha256:" + std::string(64, 'a');

std::string asked(const std::string& path, const std::string& ns = "") {
  std::map<std::string, std::string> query;
  if (!ns.empty()) query["ns"] = ns;
  const auto found = askedBy(path, query);
  if (!found) return "nothing";
  const char* const kind = found->kind == Asked::Kind::base       ? "base"
                           : found->kind == Asked::Kind::manifest ? "manifest "
                                                                  : "blob ";
  return kind + (found->image ? found->image->toString() : std::string());
}

TEST(Question, ARequestNamesItsRegistryInNs) {
  EXPECT_EQ(asked("/v2/"), "base");
  EXPECT_EQ(asked("/v2"), "base");
  EXPECT_EQ(asked("/v2/shop/cart/manifests/1.8", "r.x:5000"), "manifest r.x:5000/shop/cart:1.8");
  EXPECT_EQ(asked("/v2/shop/cart/manifests/" + kDigest, "r.x"), "manifest r.x/shop/cart@" + kDigest);
  EXPECT_EQ(asked("/v2/library/nginx/manifests/latest", "docker.io"),
            "manifest docker.io/library/nginx:latest");
  EXPECT_EQ(asked("/v2/shop/cart/blobs/" + kDigest, "r.x"), "blob r.x/shop/cart@" + kDigest);
  const auto longer = "sha512:" + std::string(128, 'a');
  EXPECT_EQ(asked("/v2/shop/cart/manifests/" + longer, "r.x"), "manifest r.x/shop/cart@" + longer);
  EXPECT_EQ(asked("/v2/shop/cart/blobs/" + longer, "r.x"), "blob r.x/shop/cart@" + longer);
  EXPECT_EQ(asked("/v2/manifests/manifests/manifests", "r.x"), "manifest r.x/manifests:manifests");
}

TEST(Question, WithoutNsThePathNamesIt) {
  EXPECT_EQ(asked("/v2/r.example/shop/cart/manifests/1"), "manifest r.example/shop/cart:1");
  EXPECT_EQ(asked("/v2/r.example/shop/cart/blobs/" + kDigest), "blob r.example/shop/cart@" + kDigest);
}

TEST(Question, EverythingElseIsNotPartOfAPull) {
  for (const std::string path :
       {"/", "/v2x", "/v2/_catalog", "/v2/shop/cart/tags/list", "/v2/shop/cart/blobs/uploads/",
        "/v2/shop/cart/blobs/md5:1", "/v2/shop/cart/manifests/md5:1", "/v2/shop/cart/manifests/",
        "/v2//manifests/1", "/v2/Shop/manifests/1", "/v2/../manifests/1", "/v2/shop/cart/manifests/a b",
        "/v2/shop/cart/referrers/"}) {
    EXPECT_EQ(asked(path, "r.x"), "nothing") << path;
  }
  EXPECT_EQ(asked("/v2/shop/cart/manifests/1", "r.x/y"), "nothing");
  EXPECT_EQ(asked("/v2/shop/cart/manifests/1", "a b"), "nothing");
  EXPECT_EQ(asked("/v2/shop/cart/manifests/1", "nodot"), "nothing") << "it would name Docker Hub";
}

std::string range(const std::string& header, std::int64_t size) {
  const auto got = rangeAsked(header, size);
  if (!got.satisfiable) return "none";
  if (!got.range) return "all";
  return std::to_string(got.range->first) + "-" + std::to_string(got.range->last);
}

TEST(Question, RangesAreThoseOfHttp) {
  EXPECT_EQ(range("", 10), "all");
  EXPECT_EQ(range("bytes=0-3", 10), "0-3");
  EXPECT_EQ(range("bytes=4-", 10), "4-9");
  EXPECT_EQ(range("bytes=4-99", 10), "4-9");
  EXPECT_EQ(range("bytes=-3", 10), "7-9");
  EXPECT_EQ(range("bytes=-99", 10), "0-9");
  EXPECT_EQ(range("bytes=9-9", 10), "9-9");
  EXPECT_EQ(range("bytes=10-", 10), "none");
  EXPECT_EQ(range("bytes=-0", 10), "none");
  EXPECT_EQ(range("bytes=0-", 0), "none");
  EXPECT_EQ(range("bytes=99999999999999999999-", 10), "none");
  EXPECT_EQ(range("bytes=-99999999999999999999", 10), "0-9");
  for (const std::string header : {"bytes=3-1", "bytes=a-b", "bytes=1-2,4-5", "lines=1-2",
                                   "bytes=", "bytes=-", "bytes=1-x", "bytes=+1-2"}) {
    EXPECT_EQ(range(header, 10), "all") << header;
  }
}

std::string through(const std::string& environment, const std::string& url) {
  const auto proxy = proxyFor(proxiesOf(environment), upstreamOf(url).value());
  if (!proxy) return proxy.error().context;
  return *proxy ? (*proxy)->authority() : "direct";
}

TEST(Question, ProxiesAreThoseOfGo) {
  const std::string end(1, '\0');
  const std::string both = "HTTP_PROXY=http://p:3128" + end + "https_proxy=q:8080" + end +
                           "NO_PROXY=.x.org,Y.org,10.0.0.0/8, h:5000,fd00:0::7,[fd00::9]:5000" + end;
  EXPECT_EQ(through(both, "http://r.com"), "p:3128");
  EXPECT_EQ(through(both, "https://r.com"), "q:8080");
  EXPECT_EQ(through(both, "https://a.x.org"), "direct");
  EXPECT_EQ(through(both, "https://x.org"), "q:8080");
  EXPECT_EQ(through(both, "https://y.org"), "direct");
  EXPECT_EQ(through(both, "https://a.y.org"), "direct");
  EXPECT_EQ(through(both, "https://ay.org"), "q:8080");
  EXPECT_EQ(through(both, "https://10.1.2.3"), "direct");
  EXPECT_EQ(through(both, "https://11.1.2.3"), "q:8080");
  EXPECT_EQ(through(both, "https://h:5000"), "direct");
  EXPECT_EQ(through(both, "https://H:5000"), "direct");
  EXPECT_EQ(through(both, "https://[fd00::7]"), "direct");
  EXPECT_EQ(through(both, "https://[fd00::8]"), "q:8080");
  EXPECT_EQ(through(both, "https://[fd00::9]:5000"), "direct");
  EXPECT_EQ(through(both, "https://[fd00::9]:5001"), "q:8080");
  EXPECT_EQ(through(both, "https://h:5001"), "q:8080");
  EXPECT_EQ(through(both, "http://127.0.0.1:5000"), "direct");
  EXPECT_EQ(through(both, "http://localhost"), "direct");
  EXPECT_EQ(through("", "https://r.com"), "direct");
  EXPECT_EQ(through(std::string("HTTPS_PROXY=http://user:pass@p:1"), "https://r.com"), "p:1");
  EXPECT_EQ(through(std::string("HTTPS_PROXY=http://user:p@ss@p:1"), "https://r.com"), "p:1");
  EXPECT_EQ(through("HTTPS_PROXY=http://p:1" + end + "NO_PROXY=*", "https://r.com"), "direct");
}

TEST(Question, AnUnsupportedProxyIsNotIgnored) {
  const std::string end(1, '\0');
  for (const std::string proxy : {"https://p:3129", "socks5://p:1080", "http://p:x"}) {
    EXPECT_THAT(through("HTTPS_PROXY=" + proxy, "https://r.com"), testing::HasSubstr(proxy));
    EXPECT_THAT(through("HTTP_PROXY=" + proxy, "http://r.com"), testing::HasSubstr(proxy));
    EXPECT_EQ(through("HTTPS_PROXY=" + proxy + end + "NO_PROXY=r.com", "https://r.com"), "direct");
  }
  EXPECT_THAT(through("HTTPS_PROXY=https://user:secret@p:1", "https://r.com"),
              testing::Not(testing::HasSubstr("secret")));
}

}  // namespace
}  // namespace fallbackd::mirror
