// SPDX-License-Identifier: Apache-2.0
// Addresses, the service account's folder, and kubeconfig files: what is read, what is refused, and the
// messages.
#include "kube/kubeconfig.hpp"

#include "temp_folder.hpp"

#include <gmock/gmock.h>

namespace fallbackd::kube {
namespace {

using testing::HasSubstr;

std::string config(const std::string& cluster, const std::string& user) {
  return "apiVersion: v1\nkind: Config\ncurrent-context: here\n"
         "contexts:\n- name: other\n  context: {cluster: x, user: y}\n"
         "- name: here\n  context: {cluster: prod, user: node}\n"
         "clusters:\n- name: prod\n  cluster: {" +
         cluster + "}\nusers:\n- name: node\n  user: {" + user + "}\n";
}

Result<Access> parse(const std::string& text) {
  return parseKubeconfig(text, "/etc/kube/config");
}

TEST(Url, IsHttpsWithHostAndPort) {
  const auto url = parseUrl("https://api.example.com:6443/clusters/one/");
  ASSERT_TRUE(url);
  EXPECT_EQ(url->host, "api.example.com");
  EXPECT_EQ(url->port, 6443);
  EXPECT_EQ(url->basePath, "/clusters/one");
  EXPECT_EQ(parseUrl("https://10.0.0.1")->authority(), "10.0.0.1:443");
  EXPECT_EQ(parseUrl("https://[fd00::1]:6443")->authority(), "[fd00::1]:6443");
  EXPECT_EQ(parseUrl("https://[fd00::1]:6443")->host, "fd00::1");
  for (const auto* wrong :
       {"http://10.0.0.1", "10.0.0.1:443", "https://", "https://:443", "https://a:0", "https://a:70000",
        "https://a:x", "https://u:p@a", "https://a?b", "https://[fd00::1", "https://[fd00::1]6443"}) {
    EXPECT_FALSE(parseUrl(wrong)) << wrong;
  }
}

TEST(InCluster, IsThePodsServiceAccount) {
  const auto access = inClusterAccess(
      [](const char* name) { return std::string(name) == "KUBERNETES_SERVICE_HOST" ? "10.96.0.1" : "443"; });
  ASSERT_TRUE(access);
  EXPECT_EQ(access->server.authority(), "10.96.0.1:443");
  EXPECT_EQ(access->token.file, "/var/run/secrets/kubernetes.io/serviceaccount/token");
  EXPECT_EQ(access->authorities.file, "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt");
  EXPECT_EQ(inClusterAccess([](const char* name) {
              return std::string(name) == "KUBERNETES_SERVICE_HOST" ? "fd00::1" : "443";
            })->server.authority(),
            "[fd00::1]:443");
  const auto none = inClusterAccess([](const char*) { return std::string(); });
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message(), HasSubstr("kubeconfig"));
}

TEST(Kubeconfig, TheCurrentContextCounts) {
  const auto access = parse(config(
      "server: 'https://10.0.0.1:6443', certificate-authority: pki/ca.crt, tls-server-name: kubernetes",
      "tokenFile: token, token: ignored"));
  ASSERT_TRUE(access) << access.error().message();
  EXPECT_EQ(access->server.authority(), "10.0.0.1:6443");
  EXPECT_EQ(access->serverName, "kubernetes");
  EXPECT_EQ(access->authorities.file, "/etc/kube/pki/ca.crt");
  EXPECT_EQ(access->token.file, "/etc/kube/token");
  EXPECT_EQ(access->token.text, "");
}

TEST(Kubeconfig, DataIsBase64) {
  const auto access =
      parse(config("server: 'https://a', certificate-authority: ca.crt, certificate-authority-data: Y2E=",
                   "client-certificate-data: Y2VydGk=, client-key-data: a2V5, client-key: /elsewhere/key"));
  ASSERT_TRUE(access) << access.error().message();
  EXPECT_EQ(access->authorities.text, "ca");
  EXPECT_EQ(access->authorities.file, "");
  EXPECT_EQ(access->certificate.text, "certi");
  EXPECT_EQ(access->key.text, "key");
  const auto wrong = parse(config("server: 'https://a', certificate-authority-data: '%%%'", "token: t"));
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message(), HasSubstr("certificate-authority-data is not base64"));
}

TEST(Kubeconfig, RefusalsHaveAReason) {
  const std::string kServer = "server: 'https://a'";
  const std::tuple<std::string, std::string, std::string> kCases[] = {
      {kServer + ", insecure-skip-tls-verify: true", "token: t", "insecure-skip-tls-verify is refused"},
      {kServer + ", proxy-url: 'http://p'", "token: t", "proxy-url is not supported"},
      {"server: 'http://a'", "token: t", "only https://"},
      {"certificate-authority: x", "token: t", "server is missing"},
      {kServer, "exec: {command: aws}", "runs no program of a kubeconfig"},
      {kServer, "auth-provider: {name: gcp}", "auth-provider is refused"},
      {kServer, "username: u, password: p", "Kubernetes has not accepted them since 1.19"},
      {kServer, "token: t, as: admin", "as is not supported"},
      {kServer, "client-certificate: c", "belong together"},
      {kServer, "token: ''", "no credentials"},
      {kServer, "token: [a]", "token must be a text"},
  };
  for (const auto& [cluster, user, words] : kCases) {
    const auto access = parse(config(cluster, user));
    ASSERT_FALSE(access) << cluster << " / " << user;
    EXPECT_THAT(access.error().message(), HasSubstr(words));
  }
}

TEST(Kubeconfig, BrokenFilesAreErrors) {
  for (const auto* text : {"", "[]", "a: [", "current-context: x", "contexts: 5\ncurrent-context: x",
                           "current-context: x\ncontexts: [{name: x, context: 5}]",
                           "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]"}) {
    EXPECT_FALSE(parse(text)) << text;
  }
  EXPECT_EQ(readKubeconfig("/nonexistent/config").error().reason, Reason::not_found);
}

}  // namespace
}  // namespace fallbackd::kube
