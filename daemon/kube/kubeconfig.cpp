// SPDX-License-Identifier: Apache-2.0
#include "kube/kubeconfig.hpp"

#include "base/strings.hpp"
#include "sys/file.hpp"

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include <openssl/evp.h>
#include <yaml-cpp/yaml.h>

namespace fallbackd::kube {

namespace {

constexpr std::size_t kMaxKubeconfigBytes = 1UL << 20;

std::string environmentVariable(const char* name) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing changes the environment while threads run
  const char* const value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

/// Padded base64, as kubectl writes it.
Result<std::string> decodedBase64(const std::string& text, const std::string& key) {
  std::string clean;
  for (const char c : text) {
    if (c != '\n' && c != '\r' && c != ' ') clean.push_back(c);
  }
  std::vector<unsigned char> bytes(clean.size() / 4 * 3 + 3);
  const auto* const from = reinterpret_cast<const unsigned char*>(clean.data());
  const int size =
      clean.size() % 4 == 0 ? ::EVP_DecodeBlock(bytes.data(), from, static_cast<int>(clean.size())) : -1;
  if (size < 0) return fail(Stage::kube, Reason::invalid, key + " is not base64");
  // OpenSSL includes the padding's zero bytes.
  std::size_t padding = 0;
  while (padding < 2 && clean.size() > padding && clean[clean.size() - 1 - padding] == '=') ++padding;
  return std::string(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(size) - padding);
}

/// One mapping of the file, and its name for messages.
class Section {
 public:
  Section(const YAML::Node& node, std::string name, const std::filesystem::path& folder)
      : node_(node), name_(std::move(name)), folder_(folder) {}

  [[nodiscard]] bool has(const char* key) const {
    return node_.IsMap() && node_[key].IsDefined() && !node_[key].IsNull();
  }
  [[nodiscard]] Result<std::string> text(const char* key) const {
    if (!has(key)) return std::string();
    if (!node_[key].IsScalar()) return wrong(std::string(key) + " must be a text");
    return node_[key].Scalar();
  }
  [[nodiscard]] Result<std::string> required(const char* key) const {
    FB_TRY(auto value, text(key));
    if (value.empty()) return wrong(std::string(key) + " is missing");
    return value;
  }
  /// KEY as a path, or KEY-data as base64; as with kubectl, the data wins.
  [[nodiscard]] Result<FileOrText> fileOrData(const std::string& key) const {
    FB_TRY(const auto data, text((key + "-data").c_str()));
    FileOrText source;
    if (!data.empty()) {
      FB_TRY(source.text, decodedBase64(data, name_ + ": " + key + "-data"));
      return source;
    }
    FB_TRY(const auto file, text(key.c_str()));
    if (!file.empty()) source.file = (folder_ / file).lexically_normal().string();
    return source;
  }
  /// The entry named `find` in a list of {name, KIND}.
  [[nodiscard]] Result<Section> named(const char* list, const char* kind, const std::string& find) const {
    if (has(list) && node_[list].IsSequence()) {
      for (const auto& item : node_[list]) {
        if (!item.IsMap() || !item["name"].IsDefined() || !item["name"].IsScalar()) continue;
        if (item["name"].Scalar() == find && item[kind].IsDefined() && item[kind].IsMap()) {
          return Section(item[kind], std::string(kind) + " " + fallbackd::quoted(find), folder_);
        }
      }
    }
    return wrong(std::string(list) + " has no " + fallbackd::quoted(find));
  }
  [[nodiscard]] tl::unexpected<Error> wrong(const std::string& what) const {
    return fail(Stage::kube, Reason::invalid, name_ + ": " + what);
  }

 private:
  YAML::Node node_;
  std::string name_;
  const std::filesystem::path& folder_;
};

Result<> readCluster(const Section& cluster, Access& out) {
  FB_TRY(const auto insecure, cluster.text("insecure-skip-tls-verify"));
  if (!insecure.empty() && insecure != "false") {
    return cluster.wrong(
        "insecure-skip-tls-verify is refused: whoever answers could decide what runs on this node; name the "
        "CA with certificate-authority");
  }
  if (cluster.has("proxy-url")) return cluster.wrong("proxy-url is not supported");
  FB_TRY(const auto server, cluster.required("server"));
  FB_TRY(out.server, parseUrl(server));
  FB_TRY(out.serverName, cluster.text("tls-server-name"));
  FB_TRY(out.authorities, cluster.fileOrData("certificate-authority"));
  return {};
}

Result<> readUser(const Section& user, const std::filesystem::path& folder, Access& out) {
  for (const auto* const plugin : {"exec", "auth-provider"}) {
    if (!user.has(plugin)) continue;
    return user.wrong(std::string(plugin) +
                      " is refused: fallbackd runs no program of a kubeconfig; use tokenFile, token or "
                      "client-certificate and client-key");
  }
  if (user.has("username") || user.has("password")) {
    return user.wrong("username and password are refused: Kubernetes has not accepted them since 1.19");
  }
  for (const auto* const impersonation : {"as", "as-uid", "as-groups", "as-user-extra"}) {
    if (user.has(impersonation)) return user.wrong(std::string(impersonation) + " is not supported");
  }
  // As with kubectl, the file wins if both are there.
  FB_TRY(const auto tokenFile, user.text("tokenFile"));
  if (!tokenFile.empty()) {
    out.token.file = (folder / tokenFile).lexically_normal().string();
  } else {
    FB_TRY(out.token.text, user.text("token"));
  }
  FB_TRY(out.certificate, user.fileOrData("client-certificate"));
  FB_TRY(out.key, user.fileOrData("client-key"));
  if (out.certificate.empty() != out.key.empty()) {
    return user.wrong("client-certificate and client-key belong together, and one is missing");
  }
  if (out.token.empty() && out.certificate.empty()) {
    return user.wrong("it has no credentials: tokenFile, token or client-certificate and client-key");
  }
  return {};
}

Result<Access> readRootOf(const YAML::Node& document, const std::string& file) {
  const auto folder = std::filesystem::path(file).parent_path();
  const Section root(document, "kubeconfig " + file, folder);
  if (!document.IsMap()) return root.wrong("it is not a mapping");
  FB_TRY(const auto current, root.text("current-context"));
  if (current.empty()) return root.wrong("current-context is missing: it names the context to use");
  FB_TRY(const auto context, root.named("contexts", "context", current));
  FB_TRY(const auto clusterName, context.required("cluster"));
  FB_TRY(const auto userName, context.required("user"));
  FB_TRY(const auto cluster, root.named("clusters", "cluster", clusterName));
  FB_TRY(const auto user, root.named("users", "user", userName));
  Access access;
  FB_CHECK(readCluster(cluster, access));
  FB_CHECK(readUser(user, folder, access));
  return access;
}

}  // namespace

Result<Access> parseKubeconfig(const std::string& text, const std::string& file) {
  try {
    return readRootOf(YAML::Load(text), file);
  } catch (const YAML::Exception& error) {
    return fail(Stage::kube, Reason::invalid, "kubeconfig " + file + ": " + error.what());
  }
}

Result<Access> readKubeconfig(const std::string& file) {
  FB_TRY(const auto text, sys::readFile(Stage::kube, file, kMaxKubeconfigBytes));
  return parseKubeconfig(text, file);
}

Result<Access> apiServerAccess(const std::string& kubeconfig) {
  return kubeconfig.empty() ? inClusterAccess(&environmentVariable) : readKubeconfig(kubeconfig);
}

}  // namespace fallbackd::kube
