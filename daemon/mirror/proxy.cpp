// SPDX-License-Identifier: Apache-2.0
#include "mirror/proxy.hpp"

#include "base/strings.hpp"

#include <algorithm>

#include <boost/algorithm/string/case_conv.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/network_v4.hpp>
#include <boost/asio/ip/network_v6.hpp>

namespace fallbackd::mirror {

namespace ip = boost::asio::ip;
using boost::system::error_code;

namespace {

bool isInNetwork(const ip::address& address, const std::string& network) {
  error_code error;
  if (address.is_v4()) {
    const auto net = ip::make_network_v4(network, error);
    return !error &&
           (ip::make_network_v4(address.to_v4(), net.prefix_length()).canonical() == net.canonical());
  }
  const auto net = ip::make_network_v6(network, error);
  return !error && (ip::make_network_v6(address.to_v6(), net.prefix_length()).canonical() == net.canonical());
}

bool isExcepted(std::string_view entry, const Upstream& upstream) {
  if (entry == "*") return true;
  error_code notAddress;
  const auto address = ip::make_address(upstream.host, notAddress);
  if (entry.find('/') != std::string_view::npos) {
    return !notAddress && isInNetwork(address, std::string(entry));
  }
  const auto colon = entry.rfind(':');
  const bool inBrackets = entry.starts_with('[') && entry.find("]:") + 1 == colon;
  if (colon != std::string_view::npos && (entry.find(':') == colon || inBrackets)) {
    if (entry.substr(colon + 1) != std::to_string(upstream.port)) return false;
    entry = inBrackets ? entry.substr(1, colon - 2) : entry.substr(0, colon);
  }
  error_code notEntry;
  const auto other = ip::make_address(std::string(entry), notEntry);
  if (!notEntry) return !notAddress && address == other;
  if (entry.starts_with("*.")) entry.remove_prefix(1);
  const auto host = boost::algorithm::to_lower_copy(upstream.host);
  const auto name = boost::algorithm::to_lower_copy(std::string(entry));
  if (name.starts_with('.')) return host.ends_with(name);
  return host == name || (notAddress && host.ends_with("." + name));
}

}  // namespace

Proxies proxiesOf(std::string_view environment) {
  Proxies found;
  // Go looks at the upper-case names first.
  const auto set = [](std::string& out, std::string_view value) {
    if (out.empty()) out = value;
  };
  for (const bool capitals : {true, false}) {
    for (const auto entry : split(environment, '\0')) {
      const auto equals = entry.find('=');
      if (equals == std::string_view::npos) continue;
      const auto name = entry.substr(0, equals);
      const auto value = entry.substr(equals + 1);
      if (name == (capitals ? "HTTP_PROXY" : "http_proxy")) set(found.http, value);
      if (name == (capitals ? "HTTPS_PROXY" : "https_proxy")) set(found.https, value);
      if (name == (capitals ? "NO_PROXY" : "no_proxy")) set(found.none, value);
    }
  }
  return found;
}

Result<std::optional<Upstream>> proxyFor(const Proxies& proxies, const Upstream& upstream) {
  std::string url = upstream.tls ? proxies.https : proxies.http;
  if (url.empty()) return std::nullopt;
  error_code notAddress;
  const auto address = ip::make_address(upstream.host, notAddress);
  if (upstream.host == "localhost" || (!notAddress && address.is_loopback())) return std::nullopt;
  for (const auto entry : split(proxies.none, ',')) {
    const auto word = trim(entry);
    if (!word.empty() && isExcepted(word, upstream)) return std::nullopt;
  }
  if (url.find("://") == std::string::npos) url = "http://" + url;
  if (const auto at = url.rfind('@'); at != std::string::npos) {
    // Its password belongs to containerd; we see without it whether the proxy answers.
    url = url.substr(0, url.find("://") + 3) + url.substr(at + 1);
  }
  auto proxy = upstreamOf(url, true);
  if (!proxy || proxy->tls) {
    return fail(Stage::detection, Reason::unavailable,
                "its proxy " + fallbackd::quoted(url) + " does not take plain HTTP");
  }
  return proxy;
}

}  // namespace fallbackd::mirror
