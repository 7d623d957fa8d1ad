"""The derivation of the edge in lines of text."""

SOURCE = "derived here (Gaussian equivalent, Dyson equation, Tracy-Widom mean)"

STEPS = (
    "P G P = c P + (1/T) sum_l [tq_2^l Hc^{l-1} Hc^{l-1}T + (M_{l-1}/M_l) hq_2^{l-1} Dc^l Dc^lT] + O(M^-1/2)",
    "  Hc, Dc: forward and backward signals less their means over the samples",
    "  c = rho sum_l alpha_{l-1} (tq_1^l - tq_2^l) (hq_1^{l-1} - hq_2^{l-1})",
    "Unit of layer l given what its samples share, u = sqrt(q_2) xi + w, eta ~ N(0, sigma_w2 tq_2^{l+1}):",
    "  f1 = E phi', f2 = E phi'', npp = Var phi - v f1^2, kx = Cov(phi, phi') - v f1 f2, kd = Var phi' - v f2^2",
    "A normalization over the units multiplies u, its factor squared sigma_w2 and hq_2 of its layer below",
    "Dyson equation at g, lp = tq_2^{l+1} + C_l, ld = (alpha_{l-1}/alpha_l) hq_2^{l-1} + B_l, e = |eta|:",
    "  Qpp = g npp + A f1^2, Qpd = e (g kx + A f1 f2), Qdd = g (e^2 kd + gap Var phi') + A e^2 f2^2 + E f1^2",
    "  D = (1 - Qpp lp)(1 - Qdd ld) - Qpd^2 lp ld",
    "  A_1 = sigma_w2 g/(1 - g (tq_2^1 + C_0)), A_{l+1} = sigma_w2 E[(Qpp (1 - Qdd ld) + ld Qpd^2)/D]",
    "  E_{l-1} = sigma_w2 E[(Qdd (1 - Qpp lp) + lp Qpd^2)/D]; B and C likewise from what the multipliers carry",
    "  z(g) = c + 1/g + Sigma(g); the edge lambda_+ is the minimum of z over g > 0",
    "Largest eigenvalue of T samples: lambda_+ - 1.2065 s_+ T^(-2/3), s_+ = (z''(g)/2)^(1/3) (Tracy and Widom 1996)",
    "|eta| is cut where one unit in M lies beyond: in the strict limit one unit with a large output weight splits off,",
    "  and lambda_max grows like kappa_log ln M for three layers or more",
    "A unit is an eigenvalue by itself, at z(g), where D = 0; M units have N(z) = M sum_l alpha_l P(D < 0) beyond z,",
    "  and Delta_+ is the integral of 1 - exp(-N) over z > lambda_+",
    "Two layers: the lengths |x_t|^2/M_0 = 1 + r_t add r_t v f2/2 to the activations, of rank one; it is an eigenvalue",
    "  at z(g), in place of lambda_+, where 1 = g (alpha_1/alpha_0) (v^2/2) E[f2^2 lp/(1 - Qpp lp)] before the edge",
    "Not covered: the same of |h|^2 and h(t) . mean h for three layers or more, and the excess of several outputs",
    f"Source: {SOURCE}",
)

RESIDUAL_STEPS = (
    "u^0 = W x, u^{b+1} = b u^b + a W^b phi(u^b), f = w phi(u^B): every layer of the stream has the same units",
    "P G P = c P + (1/T) sum_d [tq_2^d Hc^d Hc^dT + hq_2^d Dc^d Dc^dT] + O(M^-1/2), d: dense steps",
    "  Hc, Dc: signal before and derivative after the step, less their means over the samples",
    "A unit's signals y = (phi(u^0..u^B), derivatives at the B branches) given what its samples share:",
    "  y = Y v + n, v: the B + 1 fields that come forward through the weights and the B that come back",
    "  Cov(phi(u^b), phi(u^c)) = sum_k h_k^b h_k^c corr(u^b, u^c)^k, h_k: coefficients in Hermite polynomials; k = 1",
    "  is in Y and k >= 2 in N = Cov n; phi' times what comes back likewise",
    "Dyson equation at g, L = diag(tq_2^d + c_d, hq_2^d + b_d), Q = g N + Y diag(a, e) Y^T:",
    "  H = L (1 - Q L)^-1, P = Q (1 - L Q)^-1, averaged over the units:",
    "  a_d = sigma_w2 P_(Hc^d), e_d = sigma_w2 P_(Dc^d), c_d and b_d = sigma_w2 (Y^T H Y) of the fields through W^d",
    "  z(g) = c + 1/g + rho (lam/(1 - g lam) + tr N H), lam = tq_2^0 + c_0; the edge: its minimum, g > 0",
    "A normalization over the units before phi multiplies u^b, and what comes back through it, by a number",
    "Without the stream, b = 0, these are the equations of the chain",
    "Largest eigenvalue of T samples: lambda_+ - 1.2065 s_+ T^(-2/3), s_+ = (z''(g)/2)^(1/3) (Tracy and Widom 1996)",
    "Averages over units by 1024 quasirandom ones, fields cut where one unit in M lies beyond; another number of them",
    "  tells the error. Not covered: units that split off, and several outputs",
    f"Source: {SOURCE}",
)
