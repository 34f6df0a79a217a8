// SPDX-License-Identifier: Apache-2.0
#include "telemetry/page.hpp"

#include "base/base64.hpp"

#include <openssl/evp.h>
#include <openssl/sha.h>

namespace fallbackd::telemetry {

namespace {

/// 'sha256-...' of the content between the tags, as a Content-Security-Policy names it.
std::string hashOf(std::string_view html, std::string_view tag) {
  const auto open = "<" + std::string(tag) + ">";
  const auto begin = html.find(open) + open.size();
  const auto content = html.substr(begin, html.find("</" + std::string(tag) + ">", begin) - begin);
  std::string digest(32, '\0');
  unsigned size = 0;
  ::EVP_Digest(content.data(), content.size(), reinterpret_cast<unsigned char*>(digest.data()), &size,
               ::EVP_sha256(), nullptr);
  return "'sha256-" + encodeBase64(digest) + "'";
}

}  // namespace

http::Response statusPage() {
  static const std::string policy =
      "default-src 'none'; script-src " + hashOf(pageHtml(), "script") + "; style-src " +
      hashOf(pageHtml(), "style") +
      "; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
  return {200,
          "text/html; charset=utf-8",
          std::string(pageHtml()),
          {{"Content-Security-Policy", policy},
           {"Permissions-Policy", "camera=(), microphone=(), geolocation=()"}}};
}

}  // namespace fallbackd::telemetry
