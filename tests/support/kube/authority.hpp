// SPDX-License-Identifier: Apache-2.0
// Certificates as a cluster has them: a CA, servers and clients that it signed, and self-signed ones.
#pragma once

#include <memory>
#include <string>

#include <openssl/evp.h>
#include <openssl/x509.h>

namespace fallbackd::kube_test {

/// Both in PEM.
struct Leaf {
  std::string certificate;
  std::string key;
};

/// Throws std::runtime_error if OpenSSL fails.
class Authority {
 public:
  explicit Authority(const std::string& name);

  [[nodiscard]] const std::string& certificate() const { return text_; }
  /// `names` in the form of OpenSSL's configuration: "IP:127.0.0.1,DNS:localhost".
  [[nodiscard]] Leaf server(const std::string& names) const;
  [[nodiscard]] Leaf client(const std::string& commonName) const;

  /// Like the certificate that kubelet creates for itself by default.
  static Leaf selfSigned(const std::string& names);

 private:
  std::shared_ptr<EVP_PKEY> key_;
  std::shared_ptr<X509> own_;
  std::string text_;
};

}  // namespace fallbackd::kube_test
