// SPDX-License-Identifier: Apache-2.0
#include "http/tls_files.hpp"

namespace fallbackd::http {

namespace ssl = boost::asio::ssl;

Result<> TlsFiles::refresh() {
  const auto certificate = FileStamp::of(paths_.certificate);
  const auto key = FileStamp::of(paths_.key);
  if (certificate == certificate_ && key == key_ && context_ != nullptr) return {};
  // Remembered even if they are invalid, so that the same files are not read and reported again and again.
  const bool same = certificate == certificate_ && key == key_;
  if (same && certificate.size >= 0 && key.size >= 0) return {};
  certificate_ = certificate;
  key_ = key;
  auto fresh = std::make_shared<ssl::context>(ssl::context::tls_server);
  boost::system::error_code error;
  const auto failed = [&](const std::string& what) {
    return fail(Stage::telemetry, Reason::invalid, what + ": " + error.message());
  };
  fresh->set_options(ssl::context::default_workarounds | ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1 |
                         SSL_OP_NO_RENEGOTIATION,
                     error);
  fresh->use_certificate_chain_file(paths_.certificate, error);
  if (error) return failed("TLS certificate " + paths_.certificate);
  fresh->use_private_key_file(paths_.key, ssl::context::pem, error);
  if (error) return failed("TLS key " + paths_.key);
  if (::SSL_CTX_check_private_key(fresh->native_handle()) != 1) {
    return fail(Stage::telemetry, Reason::invalid,
                "TLS key " + paths_.key + " does not belong to the certificate " + paths_.certificate);
  }
  context_ = std::move(fresh);
  return {};
}

}  // namespace fallbackd::http
