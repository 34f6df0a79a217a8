// SPDX-License-Identifier: Apache-2.0
#include "http/access.hpp"

#include "base/base64.hpp"
#include "base/strings.hpp"
#include "sys/file.hpp"

#include <array>
#include <charconv>
#include <optional>

#include <boost/asio/ip/address.hpp>
#include <boost/beast/http/rfc7230.hpp>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

namespace fallbackd::http {

namespace {

constexpr std::size_t kMaxToken = 4096;

std::array<unsigned char, 32> digestOf(std::string_view text) {
  std::array<unsigned char, 32> digest{};
  unsigned size = 0;
  ::EVP_Digest(text.data(), text.size(), digest.data(), &size, ::EVP_sha256(), nullptr);
  return digest;
}

/// The password in base64("USER:PASSWORD").
std::optional<std::string> passwordOf(std::string_view encoded) {
  const auto text = decodeBase64(encoded);
  const auto colon = text ? text->find(':') : std::string::npos;
  if (colon == std::string::npos) return std::nullopt;
  return text->substr(colon + 1);
}

bool startsWithWord(std::string_view text, std::string_view word) {
  return text.size() > word.size() && text[word.size()] == ' ' &&
         boost::beast::iequals({text.data(), word.size()}, {word.data(), word.size()});
}

/// The q value of a media type in an Accept header, 0 if it is not listed.
double qualityOf(std::string_view accept, std::string_view type) {
  double best = 0;
  for (const auto item : split(accept, ',')) {
    const auto parts = split(item, ';');
    if (trim(parts.front()) != type) continue;
    double quality = 1;
    bool known = true;
    for (const auto part : parts) {
      const auto word = trim(part);
      if (word.starts_with("q=")) std::from_chars(word.data() + 2, word.data() + word.size(), quality);
      if (type == "application/openmetrics-text" && word.starts_with("version=")) {
        known = word == "version=1.0.0" || word == "version=0.0.1";
      }
    }
    if (known) best = std::max(best, quality);
  }
  return best;
}

}  // namespace

Result<> Token::refresh() {
  if (!wanted()) return {};
  const auto stamp = FileStamp::of(file_);
  if (stamp == stamp_ && (known_ || stamp.size >= 0)) return {};
  const auto text = sys::readFile(Stage::telemetry, file_, kMaxToken);
  // A file that cannot be read now is read at the next call; invalid content is reported once.
  if (stamp.settles(text)) stamp_ = stamp;
  if (!text) return tl::unexpected<Error>(text.error());
  const auto token = trim(*text);
  if (token.size() < kMinLength) {
    return fail(Stage::telemetry, Reason::invalid,
                "token file " + file_ + " has fewer than " + std::to_string(kMinLength) +
                    " characters; openssl rand -hex 32 makes a good one");
  }
  digest_ = digestOf(token);
  known_ = true;
  return {};
}

bool Token::admits(std::string_view authorization) const {
  if (!wanted()) return true;
  std::string given;
  if (startsWithWord(authorization, "Bearer")) {
    given = trim(authorization.substr(7));
  } else if (startsWithWord(authorization, "Basic")) {
    given = passwordOf(trim(authorization.substr(6))).value_or("");
  }
  const auto digest = digestOf(given);
  return ::CRYPTO_memcmp(digest.data(), digest_.data(), digest_.size()) == 0 && known_;
}

bool isLocalHost(std::string_view hostHeader) {
  std::string_view host = hostHeader;
  if (host.starts_with('[')) {
    host = host.substr(1, host.find(']') - 1);
  } else {
    host = host.substr(0, host.rfind(':'));
  }
  if (host == "localhost") return true;
  boost::system::error_code error;
  boost::asio::ip::make_address(std::string(host), error);
  return !error;
}

bool wantsOpenMetrics(std::string_view accept) {
  const double open = qualityOf(accept, "application/openmetrics-text");
  return open > 0 && open >= qualityOf(accept, "text/plain");
}

}  // namespace fallbackd::http
