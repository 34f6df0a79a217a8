// SPDX-License-Identifier: Apache-2.0
// How to reach one HTTPS server of a cluster: its address, how its certificate is checked, and our
// credentials. Values only; files are named here and read for each connection, so that a rotated token or a
// new CA takes effect at the next one.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace fallbackd::kube {

/// https://HOST[:PORT][/PATH]
struct Url {
  std::string host;  // an IPv6 address without its brackets
  std::uint16_t port = 443;
  std::string basePath;  // empty, or begins with / and does not end with one

  /// The Host header: HOST:PORT, with brackets around an IPv6 address.
  [[nodiscard]] std::string authority() const;
};

/// Stage kube, reason invalid: not https, without a host, or with a user or a query.
Result<Url> parseUrl(std::string_view text);

/// A file, or its contents. Both empty: nothing.
struct FileOrText {
  std::string file;
  std::string text;
  [[nodiscard]] bool empty() const { return file.empty() && text.empty(); }
};

struct Access {
  Url server;
  std::string serverName;  // what the certificate must name; empty: the host
  FileOrText authorities;  // CA certificates in PEM; empty: those of the system
  /// If set, the server must present the first certificate of this file, and nothing else is checked.
  std::string pinnedCertificate;
  FileOrText token;  // bearer token; may be empty
  FileOrText certificate;
  FileOrText key;
};

/// Called for each connection: what it reads may have changed.
using AccessSource = std::function<Result<Access>()>;

/// Access with what every pod with a service account has. `environment` reads a variable: empty if it is not
/// set.
Result<Access> inClusterAccess(const std::function<std::string(const char*)>& environment,
                               const std::string& folder = "/var/run/secrets/kubernetes.io/serviceaccount");

/// The contents of a small file, or the text. Blocks.
Result<std::string> contentOf(const FileOrText& source, std::string_view what);

}  // namespace fallbackd::kube
