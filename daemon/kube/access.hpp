// SPDX-License-Identifier: Apache-2.0
// How to reach one HTTPS server of a cluster: its address, what its certificate is checked against, and who
// we are. Values only; files are named here and read for each connection, so that a rotated token or a new
// CA counts from the next one on.
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

  /// The Host header: HOST:PORT, with brackets where they belong.
  [[nodiscard]] std::string authority() const;
};

/// Stage kube, reason invalid: not https, no host, user or query in it.
Result<Url> parseUrl(std::string_view text);

/// A file, or what would be in it. Both empty: nothing.
struct FileOrText {
  std::string file;
  std::string text;
  [[nodiscard]] bool empty() const { return file.empty() && text.empty(); }
};

struct Access {
  Url server;
  std::string serverName;  // what the certificate must name; empty: the host
  FileOrText authorities;  // CA certificates in PEM; empty: those of the system
  /// Set: the server must present the first certificate of this file, and nothing else about it matters.
  std::string pinnedCertificate;
  FileOrText token;  // bearer token; may be empty
  FileOrText certificate;
  FileOrText key;
};

/// Called for each connection: what it reads may have changed.
using AccessSource = std::function<Result<Access>()>;

/// What every pod with a service account has. `environment` reads a variable: empty if it is not set.
Result<Access> inClusterAccess(const std::function<std::string(const char*)>& environment,
                               const std::string& folder = "/var/run/secrets/kubernetes.io/serviceaccount");

/// The whole of a small file, or the text. Blocks.
Result<std::string> contentOf(const FileOrText& source, std::string_view what);

}  // namespace fallbackd::kube
