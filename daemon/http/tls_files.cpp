// SPDX-License-Identifier: Apache-2.0
#include "http/tls_files.hpp"

#include "sys/file.hpp"

#include <boost/asio/buffer.hpp>

namespace fallbackd::http {

namespace ssl = boost::asio::ssl;

namespace {

constexpr std::size_t kMaxPem = 1 << 20;

Result<std::string> readPem(const std::string& what, const std::string& file) {
  auto text = sys::readFile(Stage::telemetry, file, kMaxPem);
  if (!text) text.error().context = what + ": " + text.error().context;
  return text;
}

}  // namespace

Result<> TlsFiles::refresh() {
  const auto certificate = FileStamp::of(paths_.certificate);
  const auto key = FileStamp::of(paths_.key);
  if (certificate == certificate_ && key == key_ && context_ != nullptr) return {};
  const bool same = certificate == certificate_ && key == key_;
  if (same && certificate.size >= 0 && key.size >= 0) return {};
  // Files that cannot be read now are read at the next call.
  const auto chainPem = readPem("TLS certificate", paths_.certificate);
  const auto keyPem = readPem("TLS key", paths_.key);
  if (certificate.settles(chainPem) && key.settles(keyPem)) {
    // Remembered even if they are invalid, so that the same files are not read and reported again and again.
    certificate_ = certificate;
    key_ = key;
  }
  FB_CHECK(chainPem);
  FB_CHECK(keyPem);
  return use(*chainPem, *keyPem);
}

Result<> TlsFiles::use(const std::string& chainPem, const std::string& keyPem) {
  auto fresh = std::make_shared<ssl::context>(ssl::context::tls_server);
  boost::system::error_code error;
  const auto failed = [&](const std::string& what) {
    return fail(Stage::telemetry, Reason::invalid, what + ": " + error.message());
  };
  fresh->set_options(ssl::context::default_workarounds | ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1 |
                         SSL_OP_NO_RENEGOTIATION,
                     error);
  fresh->use_certificate_chain(boost::asio::buffer(chainPem), error);
  if (error) return failed("TLS certificate " + paths_.certificate);
  fresh->use_private_key(boost::asio::buffer(keyPem), ssl::context::pem, error);
  if (error) return failed("TLS key " + paths_.key);
  if (::SSL_CTX_check_private_key(fresh->native_handle()) != 1) {
    return fail(Stage::telemetry, Reason::invalid,
                "TLS key " + paths_.key + " does not belong to the certificate " + paths_.certificate);
  }
  context_ = std::move(fresh);
  return {};
}

}  // namespace fallbackd::http
