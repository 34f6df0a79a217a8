// SPDX-License-Identifier: Apache-2.0
#include "kube/tls.hpp"

#include "sys/file.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/address.hpp>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace fallbackd::kube {

namespace {

namespace ssl = boost::asio::ssl;

constexpr std::size_t kMaxPinnedBytes = 64UL << 10;

struct FreeX509 {
  void operator()(X509* certificate) const { ::X509_free(certificate); }
};
using X509Ptr = std::unique_ptr<X509, FreeX509>;
struct FreeBio {
  void operator()(BIO* bio) const { ::BIO_free(bio); }
};

tl::unexpected<Error> unusable(const std::string& what, const FileOrText& source,
                               const boost::system::error_code& error) {
  const auto from = source.file.empty() ? "the kubeconfig" : source.file;
  return fail(Stage::kube, Reason::invalid, what + " of " + from + ": " + error.message());
}

Result<> trust(ssl::context& context, const Access& access) {
  boost::system::error_code error;
  if (!access.pinnedCertificate.empty()) {
    // Nothing is checked here: checkPinned() does it, before a byte is sent.
    context.set_verify_mode(ssl::verify_none, error);
    return {};
  }
  context.set_verify_mode(ssl::verify_peer, error);
  if (access.authorities.empty()) {
    context.set_default_verify_paths(error);
    if (error) return fail(Stage::kube, Reason::invalid, "the system's CA certificates: " + error.message());
    return {};
  }
  FB_TRY(const auto text, contentOf(access.authorities, "CA certificates"));
  context.add_certificate_authority(boost::asio::buffer(text), error);
  if (error) return unusable("the CA certificates", access.authorities, error);
  return {};
}

Result<> identify(ssl::context& context, const Access& access) {
  if (access.certificate.empty()) return {};
  boost::system::error_code error;
  FB_TRY(const auto certificate, contentOf(access.certificate, "client certificate"));
  context.use_certificate_chain(boost::asio::buffer(certificate), error);
  if (error) return unusable("the client certificate", access.certificate, error);
  FB_TRY(const auto key, contentOf(access.key, "client key"));
  context.use_private_key(boost::asio::buffer(key), ssl::context::pem, error);
  if (error) return unusable("the client key", access.key, error);
  if (::SSL_CTX_check_private_key(context.native_handle()) != 1) {
    return fail(Stage::kube, Reason::invalid, "the client key does not belong to the client certificate");
  }
  return {};
}

bool isAddress(const std::string& host) {
  boost::system::error_code error;
  boost::asio::ip::make_address(host, error);
  return !error;
}

}  // namespace

Result<TlsContext> tlsContext(const Access& access) {
  try {
    auto context = std::make_shared<ssl::context>(ssl::context::tls_client);
    boost::system::error_code error;
    context->set_options(ssl::context::default_workarounds | ssl::context::no_tlsv1 |
                             ssl::context::no_tlsv1_1 | SSL_OP_NO_RENEGOTIATION,
                         error);
    FB_CHECK(trust(*context, access));
    FB_CHECK(identify(*context, access));
    return context;
  } catch (const std::exception& error) {
    return fail(Stage::kube, Reason::internal, std::string("prepare TLS: ") + error.what());
  }
}

Result<> prepareTls(SSL* connection, const Access& access) {
  const auto& name = access.serverName.empty() ? access.server.host : access.serverName;
  bool done = true;
  if (!isAddress(name)) {
    // As SSL_set_tlsext_host_name(), which contains an old-style cast.
    auto copy = name;
    done = ::SSL_ctrl(connection, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, copy.data()) == 1;
  }
  if (access.pinnedCertificate.empty()) {
    auto* const checks = ::SSL_get0_param(connection);
    ::X509_VERIFY_PARAM_set_hostflags(checks, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    done = done && (isAddress(name) ? ::X509_VERIFY_PARAM_set1_ip_asc(checks, name.c_str())
                                    : ::X509_VERIFY_PARAM_set1_host(checks, name.c_str(), name.size())) == 1;
  }
  if (!done) return fail(Stage::kube, Reason::invalid, "the server name " + name + " cannot be checked");
  return {};
}

Result<> checkPinned(SSL* connection, const Access& access) {
  if (access.pinnedCertificate.empty()) return {};
  FB_TRY(const auto text, sys::readFile(Stage::kube, access.pinnedCertificate, kMaxPinnedBytes));
  const std::unique_ptr<BIO, FreeBio> bio(::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  const X509Ptr expected(bio ? ::PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr) : nullptr);
  if (!expected) {
    return fail(Stage::kube, Reason::invalid, access.pinnedCertificate + " has no certificate in PEM");
  }
  const X509Ptr presented(::SSL_get1_peer_certificate(connection));
  if (!presented || ::X509_cmp(presented.get(), expected.get()) != 0) {
    return fail(
        Stage::kube, Reason::untrusted_key,
        access.server.authority() + " presents a certificate other than that in " + access.pinnedCertificate);
  }
  return {};
}

std::string verificationProblem(SSL* connection) {
  const auto result = ::SSL_get_verify_result(connection);
  return result == X509_V_OK ? std::string() : ::X509_verify_cert_error_string(result);
}

}  // namespace fallbackd::kube
